"""The end of a hold, and the deadlines that it moves."""

import pytest

from tests.invariants.attempts import Connection, refusal
from tests.invariants.new_rows import release
from tests.invariants.new_rows_of_executions import execution

END = "ended_at = now(), ended_by = 'user:x', end_reason = ''"
OPEN = f"WHERE release_id = {release('0.1')}"
ENDED = "WHERE ended_at IS NOT NULL"
ASKING = f"WHERE execution_id = {execution('asking')}"


def test_a_hold_ends_at_the_time_of_the_clock(database: Connection) -> None:
    end = END.replace("now()", "'2000-01-01'")
    update = f"UPDATE executions_hold SET {end} {OPEN} RETURNING ended_at > now()"
    assert database.execute(update).fetchone() == (True,)


@pytest.mark.parametrize(
    "change",
    [
        "reason = 'other'",
        "started_by = 'user:y'",
        "started_at = started_at - interval '1 day'",
        "refuses_submissions = NOT refuses_submissions",
        f"release_id = {release('0.5')}",
        "tenant_id = tenant_id + 1",
        "id = id + 1000",
    ],
)
def test_the_end_of_a_hold_changes_nothing_else(database: Connection, change: str) -> None:
    assert refusal(database, f"UPDATE executions_hold SET {END} {OPEN}") == ""
    assert refusal(database, f"UPDATE executions_hold SET {END}, {change} {OPEN}") == "hold_ends_once"


@pytest.mark.parametrize("change", [END, "ended_at = NULL, ended_by = NULL, end_reason = NULL", "end_reason = 'other'"])
def test_an_ended_hold_never_changes(database: Connection, change: str) -> None:
    assert refusal(database, f"UPDATE executions_hold SET {change} {ENDED}") == "hold_ends_once"


@pytest.mark.parametrize(
    "end", ["ended_at = now()", "ended_at = now(), ended_by = 'user:x'", "ended_at = now(), end_reason = ''"]
)
def test_the_end_of_a_hold_is_complete(database: Connection, end: str) -> None:
    assert refusal(database, f"UPDATE executions_hold SET {end} {OPEN}") == "hold_end_is_complete"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("deadline = deadline + interval '1 hour', first_deadline = deadline", ""),
        ("deadline = deadline + interval '1 hour', first_deadline = deadline - interval '1 s'", "refused"),
        ("deadline = deadline - interval '1 hour', first_deadline = deadline", "refused"),
        ("first_deadline = deadline", "refused"),
    ],
)
def test_the_first_deadline_is_the_one_before_the_first_move(database: Connection, change: str, expected: str) -> None:
    found = refusal(database, f"UPDATE executions_interaction SET {change} {ASKING}")
    assert found == (expected and "interaction_first_deadline")


def test_the_first_deadline_never_changes(database: Connection) -> None:
    later = "deadline = deadline + interval '1 hour'"
    database.execute(f"UPDATE executions_interaction SET {later}, first_deadline = deadline {ASKING}")
    assert refusal(database, f"UPDATE executions_interaction SET {later} {ASKING}") == ""
    for value in ("deadline", "NULL"):
        again = f"UPDATE executions_interaction SET {later}, first_deadline = {value} {ASKING}"
        assert refusal(database, again) == "interaction_first_deadline"
