from itertools import permutations

import pytest

from executions.models.states import MOVES, TERMINAL, State
from releases import states as releases
from tests.invariants.attempts import Connection, refusal, results
from tests.invariants.new_rows import Change, changes, digest, rejected, release
from tests.invariants.new_rows_of_activations import request
from tests.invariants.new_rows_of_executions import execution, unit, with_event

EXECUTIONS = {
    State.QUEUED: "queued",
    State.RUNNING: "running",
    State.WAIT_RETRY: "retried",
    State.WAITING_EXTERNAL: "asking",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.DLQ: "dead",
    State.CANCELLED: "cancelled",
}
RELEASES = {
    releases.Status.UPLOADED: "0.2",
    releases.Status.VERIFYING: "0.3",
    releases.Status.REGISTERED: "0.5",
    releases.Status.REJECTED: "0.4",
    releases.Status.REVOKED: "0.1",
    releases.Status.RETIRED: "0.7",
}
UPLOADS = {
    releases.UploadStatus.OPEN: "OPEN",
    releases.UploadStatus.VERIFYING: "VERIFYING",
    releases.UploadStatus.STORED: "VERIFYING STORED",
    releases.UploadStatus.REJECTED: "VERIFYING REJECTED",
    releases.UploadStatus.EXPIRED: "EXPIRED",
}
RECORDS = {
    "REVOKED": "INSERT INTO releases_revocation (release_id, actor, reason, open_executions, failed_executions) "
    "SELECT {}, '', 'why', 'leave', 0",
    "RETIRED": "INSERT INTO releases_retirement (release_id, actor, reason, given_up_failures) SELECT {}, '', 'why', 0",
}


def move(source: State, target: State, changed: Change) -> str:
    """Return the statement for a complete move of an execution, with a change of its columns."""
    running = target is State.RUNNING
    values = {
        "status": f"'{target}'",
        "version": "version + 1",
        "event_count": "event_count + 1",
        "lease_owner": "'w'" if running else "NULL",
        "lease_protocol": "'celery'" if running else "NULL",
        "lease_worker": "NULL",
        "lease_token": "gen_random_uuid()" if running else "NULL",
        "lease_expires_at": "now()" if running else "NULL",
        "running_since": "NULL",
        "finished_at": "now()" if target in TERMINAL else "NULL",
        "result": "'1'" if target is State.SUCCEEDED else "NULL",
        "await_unit_id": unit("asking") if target is State.WAITING_EXTERNAL else "NULL",
        **changed,
    }
    assignments = ", ".join(f"{column} = {value}" for column, value in values.items())
    return with_event(f"UPDATE executions_execution SET {assignments} WHERE id = {execution(EXECUTIONS[source])}")


def release_move(source: str, target: str) -> str:
    chosen = release(RELEASES[releases.Status(source)])
    record = f"; {RECORDS[target].format(chosen)}" if target in RECORDS else ""
    return f"UPDATE releases_release SET status = '{target}' WHERE id = {chosen}{record}"


def upload_move(source: str, target: str) -> str:
    chosen = digest(UPLOADS[releases.UploadStatus(source)])
    return f"UPDATE releases_artifactupload SET status = '{target}' WHERE digest = {chosen}"


def test_executions_move_only_as_the_table_says(database: Connection) -> None:
    assert {*EXECUTIONS} == {*State}
    for source, target in permutations(State, 2):
        expected = "" if target in MOVES[source] else "execution_legal_move"
        assert refusal(database, move(source, target, {}), ordinary=True) == expected, (source, target)


def test_releases_and_uploads_move_only_as_the_tables_say(database: Connection) -> None:
    for source, ends in releases.MOVES.items():
        for target in {*releases.Status} - {source}:
            verdict = refusal(database, release_move(source, target), ordinary=True)
            assert verdict == ("" if target in ends else "release_legal_move"), (source, target)
    for upload, upload_ends in releases.UPLOAD_MOVES.items():
        for end in {*releases.UploadStatus} - {upload}:
            verdict = refusal(database, upload_move(upload, end), ordinary=True)
            assert verdict == ("" if end in upload_ends else "upload_legal_move"), (upload, end)


def request_move(source: str, target: str, moment: str = "now()") -> str:
    end = {"FAILED": ", code = 'X', detail = 'x'", "WITHDRAWN": ", detail = 'x', ended_by = 'x'"}.get(target, "")
    moved = f"status = '{target}', status_changed_at = {moment}{end}"
    return f"UPDATE releases_activationrequest SET {moved} WHERE id = {request(source)}"


def test_requests_move_only_as_the_table_says(database: Connection) -> None:
    over = {"activation_request_over_is_over", "activation_request_time", "activation_request_end_says_why"}
    for source in releases.RequestStatus:
        for target in releases.RequestStatus:
            verdict = refusal(database, request_move(source, target), ordinary=True)
            if source is target or not releases.REQUEST_MOVES[source]:
                expected = over
            elif target in releases.REQUEST_MOVES[source]:
                expected = {"", "activation_request_decided_by_votes", "activation_request_has_activation"}
            else:
                expected = {"activation_request_legal_move"}
            assert verdict in expected, (source, target, verdict)


def other(*columns: str) -> str:
    return "\n".join(f"{column} = 'x'" for column in columns)


ALWAYS_WRONG = f"""
    execution_counts_up: version = version | version + 2 | version - 1 | 0
    attempt = attempt - 1
    event_count = event_count - 1
    execution_finish_is_now: finished_at = now() - interval '1 microsecond' | now() + interval '1 second'
    execution_pin_immutable: release_id = {release("0.5")}
    tenant_id = 0
    {other("pipeline_id", "contract_version", "release_version")}
    execution_submission_immutable: input = '2'
    id = gen_random_uuid()
    checkpoints = NOT checkpoints
    created_at = now()
    {other("execution_key", "input_digest", "input_shape", "result_shape", "submitted_by")}
"""
WRONG_WHILE_RUNNING = """
    execution_running_has_lease: lease_owner = NULL
    lease_protocol = NULL
    lease_token = NULL
    lease_expires_at = NULL
    execution_lease_protocol: lease_protocol = 'rest' | 'sqs' | ''
"""
WRONG_OTHERWISE = """
    execution_only_running_runs: running_since = now()
    execution_running_has_lease: lease_owner = 'w'
    lease_protocol = 'celery'
    lease_worker = 'w'
"""


@pytest.mark.parametrize("source", [state for state in State if MOVES[state]])
def test_a_move_counts_its_version_and_sets_its_finish(database: Connection, source: State) -> None:
    for target in sorted(MOVES[source]):
        wrong = ALWAYS_WRONG + (WRONG_WHILE_RUNNING if target is State.RUNNING else WRONG_OTHERWISE)
        wrong += f"execution_terminal_has_finish: finished_at = {'NULL' if target in TERMINAL else 'now()'}\n"
        wrong += "execution_finish_is_now: finished_at = finished_at\n" if source in TERMINAL else ""
        expected = {move(source, target, changed): name for name, changed in rejected(wrong)}
        expected |= {move(source, target, {"attempt": "attempt + 1"}): ""}
        assert results(database, expected, ordinary=False) == expected


@pytest.mark.parametrize("state", State)
def test_without_a_move_the_version_stays_and_no_attempt_is_lost(database: Connection, state: State) -> None:
    wrong = "execution_counts_up: version = version + 1 | version - 1\n attempt = attempt - 1"
    right = "attempt = attempt + 1 | attempt\n version = version"
    if state in TERMINAL:
        wrong = "execution_terminal_immutable: attempt = attempt + 1\n error_code = 'x'\n next_due_at = now()"
        right = "version = version"
    noted = "UPDATE executions_execution SET event_count = event_count + 1, {} = {} WHERE id = {}"
    expected = {
        with_event(noted.format(column, value, execution(EXECUTIONS[state]))): name
        for name, changed in [*rejected(wrong), *(("", changed) for changed in changes(right))]
        for column, value in changed.items()
    }
    assert results(database, expected) == expected


@pytest.mark.parametrize("state", [State.FAILED, State.DLQ])
def test_a_failure_of_a_retired_release_is_not_queued_again(database: Connection, state: State) -> None:
    again = move(state, State.QUEUED, {})
    retired = f"UPDATE releases_release SET status = 'RETIRED' WHERE id = {release('1.0')}"
    assert results(database, [again], setup=retired) == {again: "execution_of_retired_release"}
