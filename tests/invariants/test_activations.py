import pytest

from tests.invariants.attempts import Connection, refusal, results, unguarded
from tests.invariants.new_rows import PAST, SOON, pipeline, release
from tests.invariants.new_rows_of_activations import ASKED_PIPELINE, of_gradual, person, request
from tests.invariants.rows import GRADUAL_PIPELINE
from tests.invariants.test_states import RECORDS, request_move

HERE = pipeline(name=GRADUAL_PIPELINE)
BASELINE, CANDIDATE = of_gradual("2.0"), of_gradual("5.0")


def pointing(kind: str, release_id: str = BASELINE, candidate: str = "NULL", share: str = "NULL") -> str:
    """Return the statements that append an activation to the pipeline and move its pointer."""
    gradual = "NULL" if kind == "activation" else "gradual_id"
    return f"""INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, candidate_id, share, gradual_id, actor, reason)
        SELECT pipeline_id, sequence + 1, {release_id}, release_id, '{kind}', {candidate}, {share}, {gradual}, '', ''
        FROM releases_activation WHERE id = (SELECT activation_id FROM releases_pipeline WHERE id = {HERE});
        UPDATE releases_pipeline SET activation_id = (SELECT max(id) FROM releases_activation) WHERE id = {HERE}"""


def move(changes: str) -> str:
    return f"UPDATE releases_gradualactivation SET {changes} WHERE status = 'RUNNING'"


def end(status: str, cause: str = "person", reason: str = "why") -> str:
    return move(f"status = '{status}', cause = '{cause}', ended_by = '', end_reason = '{reason}'")


NEXT = pointing("gradual", candidate=CANDIDATE, share="50")


def test_a_move_of_a_gradual_activation_is_written_with_its_activation(database: Connection) -> None:
    withdrawal = pointing("withdrawal")
    expected = {
        f"{move('step = 1')}; {NEXT}": "",
        f"{end('WITHDRAWN')}; {withdrawal}": "",
        f"{end('WITHDRAWN', 'failures')}; {withdrawal}": "",
        f"{end('PROMOTED')}; {pointing('promotion', CANDIDATE)}": "",
        f"{end('REPLACED', 'activation')}; {pointing('activation')}": "",
        move("step = 1"): "gradual_activation_routes",
        NEXT: "activation_routes",
        f"{move('step = 1')}; {pointing('gradual', candidate=CANDIDATE, share='5')}": "gradual_activation_routes",
        move("step = 2"): "gradual_activation_step_by_step",
        move("step = step - 1"): "gradual_activation_step_by_step",
        move("step = 1, status = 'WITHDRAWN', cause = 'person'"): "gradual_activation_step_by_step",
        end("WITHDRAWN"): "gradual_activation_routes",
        withdrawal: "activation_routes",
        f"{end('WITHDRAWN', reason=' ')}; {withdrawal}": "gradual_activation_withdrawal_says_why",
        end("PROMOTED", "failures"): "gradual_activation_cause_of_status",
        end("RUNNING"): "gradual_activation_end_is_complete",
        move("status = 'WITHDRAWN'"): "gradual_activation_end_is_complete",
        pointing("promotion", of_gradual("3.0")): "activation_of_gradual",
    }
    assert results(database, expected) == expected


def test_a_release_of_a_running_gradual_activation_stays_registered(database: Connection) -> None:
    change = "UPDATE releases_release SET status = '{}', status_changed_at = now() WHERE id = {}"
    statements = [
        change.format(status, release_id) for status in ("REVOKED", "RETIRED") for release_id in (BASELINE, CANDIDATE)
    ]
    assert results(database, statements) == dict.fromkeys(statements, "release_of_no_gradual")


ASKED = pipeline("owner", ASKED_PIPELINE)
OPEN = f"UPDATE releases_activationrequest SET {{}} WHERE id = {request('OPEN')}"


def votes(database: Connection, decisions: str) -> None:
    """Replace the votes on the open request by those of new voters: a for approve, r for refuse."""
    unguarded(database, f"DELETE FROM releases_vote WHERE request_id = {request('OPEN')}")
    for number, letter in enumerate(decisions):
        decision = {"a": "approve", "r": "refuse"}[letter]
        database.execute(
            "INSERT INTO auth_user "
            "(password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined) "
            f"VALUES ('', false, 'voter-{number}', '', '', '', false, true, now())"
        )
        database.execute(
            "INSERT INTO releases_vote (request_id, round, voter_id, actor, decision, comment) "
            f"SELECT {request('OPEN')}, 1, {person(f'voter-{number}')}, '', '{decision}', ''"
        )


@pytest.mark.parametrize(
    ("decisions", "approvals", "of_round", "allowed"),
    [("a", 2, 1, ""), ("aa", 2, 1, "APPROVED"), ("aar", 2, 1, "REFUSED"), ("a", 0, 1, "APPROVED"), ("aa", 2, 2, "")],
)
def test_votes_decide_a_request(
    database: Connection, decisions: str, approvals: int, of_round: int, allowed: str
) -> None:
    votes(database, decisions)
    policy = OPEN.format(f"policy = jsonb_build_object('approvals', {approvals}), round = {of_round}")
    undecided = "activation_request_decided_by_votes"
    expected = {
        request_move("OPEN", target): "" if target == allowed else undecided for target in ("APPROVED", "REFUSED")
    }
    assert results(database, expected, setup=policy) == expected


def test_a_request_moves_at_its_time(database: Connection) -> None:
    expiry, past = request_move("OPEN", "EXPIRED"), "created_at = now() - interval '2 hours', expires_at = now()"
    assert refusal(database, expiry, ordinary=True) == "activation_request_decided_by_votes"
    assert results(database, [expiry], setup=OPEN.format(past)) == {expiry: ""}
    moments = [request_move("OPEN", "WITHDRAWN", moment) for moment in (PAST, SOON, "status_changed_at")]
    assert results(database, moments) == dict.fromkeys(moments, "activation_request_time")
    activation = request_move("APPROVED", "ACTIVATED")
    assert refusal(database, activation, ordinary=True) == "activation_request_has_activation"


def test_a_new_round_records_the_present(database: Connection) -> None:
    newest = f"(SELECT activation_id FROM releases_pipeline WHERE id = {ASKED})"
    change = OPEN.format("base_id = {}, policy = jsonb_build_object('approvals', {}), round = round + {}")
    wrong = "activation_request_new_round"
    expected = {change.format(newest, 0, 1): ""}
    expected |= {
        change.format(*values): wrong for values in ((newest, 0, 2), (newest, 0, 0), (newest, 1, 1), ("NULL", 0, 1))
    }
    expected[change.format(newest, 0, 1).replace(request("OPEN"), request("APPROVED"))] = wrong
    assert results(database, expected) == expected


def test_a_release_with_an_undecided_request_does_not_end(database: Connection) -> None:
    requested = release("2.0", "owner", ASKED_PIPELINE)
    for status, record in RECORDS.items():
        ending = f"UPDATE releases_release SET status = '{status}' WHERE id = {requested}; {record.format(requested)}"
        decided = "; ".join((request_move("OPEN", "WITHDRAWN"), request_move("APPROVED", "WITHDRAWN"), ending))
        expected = {ending: "release_ends_without_requests", decided: ""}
        assert results(database, expected) == expected
