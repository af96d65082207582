"""The moves of gradual activations, and what they require of the activations and the releases."""

import pytest

from tests.invariants.attempts import Connection, refusal
from tests.invariants.new_rows import pipeline, release
from tests.invariants.rows import GRADUAL_PIPELINE

PIPELINE = pipeline(name=GRADUAL_PIPELINE)
BASELINE, CANDIDATE = (release(version, "owner", GRADUAL_PIPELINE) for version in ("2.0", "5.0"))
NEWEST = f"(SELECT activation_id FROM releases_pipeline WHERE id = {PIPELINE})"


def pointing(kind: str, of: str = BASELINE, candidate: str = "NULL", share: str = "NULL") -> str:
    """Return the statements that append an activation to the pipeline and move its pointer."""
    gradual = "NULL" if kind == "activation" else "gradual_id"
    return f"""INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, candidate_id, share, gradual_id, actor, reason)
        SELECT pipeline_id, sequence + 1, {of}, release_id, '{kind}', {candidate}, {share}, {gradual}, '', ''
        FROM releases_activation WHERE id = {NEWEST};
        UPDATE releases_pipeline SET activation_id = (SELECT max(id) FROM releases_activation) WHERE id = {PIPELINE}"""


def move(changes: str) -> str:
    return f"UPDATE releases_gradualactivation SET {changes} WHERE status = 'RUNNING'"


def end(status: str, cause: str = "person", reason: str = "why") -> str:
    return move(f"status = '{status}', cause = '{cause}', ended_by = '', end_reason = '{reason}'")


NEXT = pointing("gradual", candidate=CANDIDATE, share="50")


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([move("step = 1"), NEXT], ""),
        ([end("WITHDRAWN"), pointing("withdrawal")], ""),
        ([end("WITHDRAWN", "failures"), pointing("withdrawal")], ""),
        ([end("PROMOTED"), pointing("promotion", CANDIDATE)], ""),
        ([end("REPLACED", "activation"), pointing("activation")], ""),
        ([move("step = 1")], "gradual_activation_routes"),
        ([NEXT], "activation_routes"),
        ([move("step = 1"), pointing("gradual", candidate=CANDIDATE, share="5")], "gradual_activation_routes"),
        ([move("step = 2")], "gradual_activation_step_by_step"),
        ([move("step = step - 1")], "gradual_activation_step_by_step"),
        ([move("step = 1, status = 'WITHDRAWN', cause = 'person'")], "gradual_activation_step_by_step"),
        ([end("WITHDRAWN")], "gradual_activation_routes"),
        ([pointing("withdrawal")], "activation_routes"),
        ([end("WITHDRAWN", reason=" "), pointing("withdrawal")], "gradual_activation_withdrawal_says_why"),
        ([end("PROMOTED", "failures")], "gradual_activation_cause_of_status"),
        ([end("RUNNING")], "gradual_activation_end_is_complete"),
        ([move("status = 'WITHDRAWN'")], "gradual_activation_end_is_complete"),
        ([pointing("promotion", release("3.0", "owner", GRADUAL_PIPELINE))], "activation_of_gradual"),
    ],
)
def test_a_move_is_written_with_its_activation(database: Connection, statements: list[str], expected: str) -> None:
    assert refusal(database, "; ".join(statements), ordinary=True) == expected


def test_the_database_chooses_the_times(database: Connection) -> None:
    def stamped(column: str) -> bool:
        query = "SELECT bool_and({} BETWEEN now() AND clock_timestamp()) FROM releases_gradualactivation WHERE step = 1"
        return database.execute(query.format(column)).fetchone() == (True,)

    database.execute(move("step = 1, step_started_at = '2000-01-01', ended_at = now()"))
    assert stamped("step_started_at")
    database.execute(end("WITHDRAWN"))
    assert stamped("ended_at")


@pytest.mark.parametrize("version", ["2.0", "5.0"])
@pytest.mark.parametrize("status", ["REVOKED", "RETIRED"])
def test_a_release_of_a_running_one_stays_registered(database: Connection, version: str, status: str) -> None:
    of = release(version, "owner", GRADUAL_PIPELINE)
    change = f"UPDATE releases_release SET status = '{status}', status_changed_at = now() WHERE id = {of}"
    assert refusal(database, change, ordinary=True) == "release_of_no_gradual"
