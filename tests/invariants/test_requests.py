"""How requests to activate a release move, and which activations approvals and overrides allow."""

import pytest

from releases.states import REQUEST_MOVES, RequestStatus
from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.new_rows import pipeline, release
from tests.invariants.new_rows_of_requests import ASKED_PIPELINE, person, request

HERE = pipeline("owner", ASKED_PIPELINE)
TABLE = "releases_activationrequest"


def move(source: str, target: str, changes: str = "") -> str:
    end = {"FAILED": ", code = 'X', detail = 'x'", "WITHDRAWN": ", detail = 'x', ended_by = 'x'"}.get(target, "")
    moved = f"status = '{target}', status_changed_at = now(){end}{changes}"
    return f"UPDATE {TABLE} SET {moved} WHERE id = {request(source)}"


def votes(database: Connection, decisions: str) -> None:
    """Replace the votes on the open request by those of new voters: a for approve, r for refuse."""
    unguarded(database, "releases_vote", f"DELETE FROM releases_vote WHERE request_id = {request('OPEN')}")
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


def test_requests_move_only_as_the_table_says(database: Connection) -> None:
    legal = {(source, target) for source, targets in REQUEST_MOVES.items() for target in targets}
    for source in RequestStatus:
        for target in RequestStatus:
            found = refusal(database, move(source, target), ordinary=True)
            if source is target or not REQUEST_MOVES[source]:
                expected = {
                    "activation_request_over_is_over",
                    "activation_request_time",
                    "activation_request_end_says_why",
                }
            elif (source, target) in legal:
                expected = {"", "activation_request_decided_by_votes", "activation_request_has_activation"}
            else:
                expected = {"activation_request_legal_move"}
            assert found in expected, (source, target, found)


@pytest.mark.parametrize(
    ("decisions", "approvals", "may"),
    [
        ("", 2, ""),
        ("a", 2, ""),
        ("aa", 2, "APPROVED"),
        ("aaa", 2, "APPROVED"),
        ("aar", 2, "REFUSED"),
        ("r", 2, "REFUSED"),
        ("", 0, ""),
        ("a", 0, "APPROVED"),
    ],
)
def test_votes_decide_a_request(database: Connection, decisions: str, approvals: int, may: str) -> None:
    votes(database, decisions)
    policy = f"UPDATE {TABLE} SET policy = jsonb_build_object('approvals', {approvals}) WHERE id = {request('OPEN')}"
    unguarded(database, TABLE, policy)
    found = {target: refusal(database, move("OPEN", target)) for target in ("APPROVED", "REFUSED")}
    assert found == {target: "" if target == may else "activation_request_decided_by_votes" for target in found}


def test_votes_of_another_round_do_not_count(database: Connection) -> None:
    votes(database, "aa")
    fits = f"UPDATE {TABLE} SET policy = jsonb_build_object('approvals', 2), round = 2 WHERE id = {request('OPEN')}"
    unguarded(database, TABLE, fits)
    assert refusal(database, move("OPEN", "APPROVED")) == "activation_request_decided_by_votes"


def test_a_request_expires_at_its_time(database: Connection) -> None:
    assert refusal(database, move("OPEN", "EXPIRED")) == "activation_request_decided_by_votes"
    past = "created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
    unguarded(database, TABLE, f"UPDATE {TABLE} SET {past} WHERE id = {request('OPEN')}")
    assert refusal(database, move("OPEN", "EXPIRED")) == ""


def test_a_move_has_its_time(database: Connection) -> None:
    for moment in ("now() - interval '1 second'", "now() + interval '1 second'", "status_changed_at"):
        change = move("OPEN", "WITHDRAWN").replace("now()", moment, 1)
        assert refusal(database, change) == "activation_request_time"


def test_a_new_round_records_the_present(database: Connection) -> None:
    newest = f"(SELECT activation_id FROM releases_pipeline WHERE id = {HERE})"
    change = (
        f"UPDATE {TABLE} SET base_id = {{}}, policy = '{{{{\"approvals\": {{}}}}}}', round = round + {{}} WHERE id = "
    )
    change = change.replace("{{{{", "{{").replace("}}}}", "}}") + request("OPEN")
    assert refusal(database, change.format(newest, 0, 1), ordinary=True) == ""
    for wrong in ((newest, 0, 2), (newest, 0, 0), (newest, 1, 1), ("NULL", 0, 1)):
        assert refusal(database, change.format(*wrong), ordinary=True) == "activation_request_new_round"
    approved = change.replace(request("OPEN"), request("APPROVED"))
    assert refusal(database, approved.format(newest, 0, 1), ordinary=True) == "activation_request_new_round"


def test_a_request_is_activated_with_its_activation(database: Connection) -> None:
    assert refusal(database, move("APPROVED", "ACTIVATED"), ordinary=True) == "activation_request_has_activation"


@pytest.mark.parametrize("status", ["REVOKED", "RETIRED"])
def test_a_release_with_an_undecided_request_does_not_end(database: Connection, status: str) -> None:
    requested = release("2.0", "owner", ASKED_PIPELINE)
    record = {
        "REVOKED": "INSERT INTO releases_revocation (release_id, actor, reason, open_executions, failed_executions) "
        f"VALUES ({requested}, '', 'why', 'leave', 0)",
        "RETIRED": "INSERT INTO releases_retirement (release_id, actor, reason, given_up_failures) "
        f"VALUES ({requested}, '', 'why', 0)",
    }[status]
    end = f"UPDATE releases_release SET status = '{status}' WHERE id = {requested}; {record}"
    assert refusal(database, end, ordinary=True) == "release_ends_without_requests"
    decided = f"{move('OPEN', 'WITHDRAWN')}; {move('APPROVED', 'WITHDRAWN')}; {end}"
    assert refusal(database, decided, ordinary=True) == ""


ROLL_BACK = f"""INSERT INTO releases_activation
    (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, activated_at)
    SELECT {HERE}, 3, {release("1.0", "owner", ASKED_PIPELINE)}, {release("2.0", "owner", ASKED_PIPELINE)},
    'rollback', '', 'why', now();
    UPDATE releases_pipeline SET activation_id = (SELECT max(id) FROM releases_activation) WHERE id = {HERE}"""


@pytest.mark.parametrize(("days", "expected"), [(29, ""), (31, "activation_approved")])
def test_a_rollback_needs_no_approval_for_some_days(database: Connection, days: int, expected: str) -> None:
    replaced = f"""INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, activated_at)
        SELECT {HERE}, 2, {release("2.0", "owner", ASKED_PIPELINE)}, {release("1.0", "owner", ASKED_PIPELINE)},
        'activation', '', 'why', now() - interval '{days} days'"""
    unguarded(database, "releases_activation", replaced)
    pointer = f"activation_id = (SELECT max(id) FROM releases_activation), approvals = 1 WHERE id = {HERE}"
    unguarded(database, "releases_pipeline", f"UPDATE releases_pipeline SET {pointer}")
    assert refusal(database, ROLL_BACK, ordinary=True) == expected
