"""The columns that each move must change with the state: version, counts, finish time, verdicts and responses."""

from itertools import product

import pytest

from executions.models.states import MOVES, TERMINAL, State
from tests.invariants.attempts import NO_RIGHT, Connection, refusal, unguarded
from tests.invariants.guards import AWAIT_OVER
from tests.invariants.new_rows import PAST, SOON, Change, each, release
from tests.invariants.new_rows_of_executions import execution, unit, with_event

KEYS = {
    State.QUEUED: "queued",
    State.RUNNING: "running",
    State.WAIT_RETRY: "retried",
    State.WAITING_EXTERNAL: "asking",
    State.FAILED: "failed",
    State.DLQ: "dead",
}
LEGAL = [(source, target) for source, targets in MOVES.items() for target in sorted(targets)]


def move(source: State, target: State, changes: Change) -> str:
    """Return the statement for a complete move of an execution, with `changes` applied to its columns."""
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
        **changes,
    }
    assignments = ", ".join(f"{column} = {value}" for column, value in values.items())
    return with_event(f"UPDATE executions_execution SET {assignments} WHERE id = {execution(KEYS[source])}")


@pytest.mark.parametrize(("source", "target"), LEGAL)
def test_a_move_counts_its_version_and_sets_its_finish(database: Connection, source: State, target: State) -> None:
    wrong = {
        "execution_counts_up": [
            *each("version", "version", "version + 2", "version - 1", "0"),
            *each("attempt", "attempt - 1"),
            *each("event_count", "event_count - 1"),
        ],
        "execution_terminal_has_finish": each("finished_at", "NULL" if target in TERMINAL else "now()"),
        "execution_finish_is_now": [
            *each("finished_at", "now() - interval '1 microsecond'", "now() + interval '1 second'"),
            *(each("finished_at", "finished_at") if source in TERMINAL else []),
        ],
        "execution_pin_immutable": each("release_id", release("0.5")),
        "execution_submission_immutable": [*each("input", "'2'"), *each("execution_key", "'x'")],
    }
    if target is State.RUNNING:
        wrong["execution_running_has_lease"] = [
            *each("lease_owner", "NULL"),
            *each("lease_protocol", "NULL"),
            *each("lease_token", "NULL"),
            *each("lease_expires_at", "NULL"),
        ]
        wrong["execution_lease_protocol"] = each("lease_protocol", "'rest'", "'sqs'", "''")
    else:
        wrong["execution_only_running_runs"] = each("running_since", "now()")
        wrong["execution_running_has_lease"] = [
            *each("lease_owner", "'w'"),
            *each("lease_protocol", "'celery'"),
            *each("lease_worker", "'w'"),
        ]
    expected = {str(change): name for name, changes in wrong.items() for change in changes}
    tried = [change for changes in wrong.values() for change in changes]
    assert {str(change): refusal(database, move(source, target, change)) for change in tried} == expected
    allowed = {
        str(change): refusal(database, move(source, target, change)) for change in ({}, {"attempt": "attempt + 1"})
    }
    assert allowed == dict.fromkeys(allowed, "")


@pytest.mark.parametrize("state", [state for state in KEYS if state not in TERMINAL])
def test_without_a_move_the_version_stays_and_no_attempt_is_lost(database: Connection, state: State) -> None:
    noted = "UPDATE executions_execution SET event_count = event_count + 1, {} WHERE id = " + execution(KEYS[state])
    wrong = ("version = version + 1", "version = version - 1", "attempt = attempt - 1")
    found = {change: refusal(database, with_event(noted.format(change)), ordinary=True) for change in wrong}
    assert found == dict.fromkeys(wrong, "execution_counts_up")
    for change in ("attempt = attempt + 1", "version = version"):
        assert refusal(database, with_event(noted.format(change)), ordinary=True) == ""


FINISHED = [state for state in KEYS if state in TERMINAL]


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_execution_gets_no_better_failure(database: Connection, state: State) -> None:
    noted = "UPDATE executions_execution SET event_count = event_count + 1, {} = {} WHERE id = " + execution(
        KEYS[state]
    )
    found = {
        column: refusal(database, with_event(noted.format(column, value)))
        for column, value in (("attempt", "attempt + 1"), ("error_code", "'x'"), ("next_due_at", "now()"))
    }
    assert found == dict.fromkeys(found, "execution_terminal_immutable")


VERDICT = {
    "findings": "'[1]'",
    "contract_id": "(SELECT id FROM releases_contract WHERE pipeline_id = r.pipeline_id)",
    "primary_artifact_id": "'x'",
    "environments": "'[1]'",
    "checkpoints": "true",
}


@pytest.mark.parametrize("column", VERDICT)
@pytest.mark.parametrize(
    ("version", "target", "expected"),
    [
        ("0.2", "VERIFYING", "release_verdict_once"),
        ("0.3", "REGISTERED", ""),
        ("0.3", "REJECTED", ""),
        ("0.5", "REVOKED", "release_verdict_once"),
        ("0.5", "RETIRED", "release_verdict_once"),
    ],
)
def test_a_verdict_is_written_by_the_move_that_ends_a_verification(
    database: Connection, version: str, target: str, expected: str, column: str
) -> None:
    changes = f"status = '{target}', {column} = {VERDICT[column]}"
    if (version, column) == ("0.5", "contract_id"):
        changes = f"status = '{target}', contract_id = NULL"
    change = f"UPDATE releases_release r SET {changes} WHERE id = {release(version)}"
    assert refusal(database, change, ordinary=True) == expected


OTHER = release("1.0", name="org.example.other")


@pytest.mark.parametrize(
    "preparation",
    [
        # same version as the release, other pipeline
        f"""UPDATE releases_release SET contract_version = (SELECT contract_version FROM releases_release
            WHERE id = {OTHER}) WHERE id = {release("0.3")}""",
        # same pipeline as the release, other version
        f"""UPDATE releases_contract SET pipeline_id = (SELECT pipeline_id FROM releases_release
            WHERE id = {release("0.3")}) WHERE id = (SELECT contract_id FROM releases_release WHERE id = {OTHER})""",
    ],
)
def test_a_verdict_names_a_contract_of_its_own_pipeline_and_version(database: Connection, preparation: str) -> None:
    unguarded(database, preparation.split()[1], preparation)
    contract = f"(SELECT contract_id FROM releases_release WHERE id = {OTHER})"
    change = f"UPDATE releases_release SET status = 'REGISTERED', contract_id = {contract} WHERE id = {release('0.3')}"
    assert refusal(database, change, ordinary=True) == "release_own_contract"


FILE = f"(SELECT digest FROM releases_artifact WHERE release_id = {release('0.5')} AND position = 0)"


def add_bytes(version: str = "0.3", **changes: str) -> str:
    """Return a statement that adds the bytes of the artifact of a release, by default of one in verification."""
    values = {"blob_id": "digest", "resolved": "true", **changes}
    assignments = ", ".join(f"{column} = {value}" for column, value in values.items())
    return f"UPDATE releases_artifact SET {assignments} WHERE release_id = {release(version)}"


def without_bytes(database: Connection, version: str = "0.3") -> None:
    """Remove the bytes of the artifact of a release, wherever the tenant has them. Its blob is just stored."""
    chosen = f"(SELECT digest FROM releases_artifact WHERE release_id = {release(version)})"
    removal = f"UPDATE releases_artifact SET blob_id = NULL, resolved = false WHERE digest = {chosen}"
    unguarded(database, "releases_artifact", removal)
    database.execute(f"UPDATE releases_blob SET checked_at = now() WHERE digest IN ({chosen}, {FILE})")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.2", ""),
        ("0.3", ""),
        ("0.4", "artifact_of_verified_release"),
        ("0.5", "artifact_of_verified_release"),
        ("0.1", "artifact_of_verified_release"),
    ],
)
def test_missing_bytes_are_added_until_the_verdict(database: Connection, version: str, expected: str) -> None:
    without_bytes(database, version)
    assert refusal(database, add_bytes(version), ordinary=True) == expected


@pytest.mark.parametrize(
    "change",
    [
        *each("checked_at", "now() - interval '1 microsecond'"),
        *each("state", "'DAMAGED'", "'MISSING'", "'REMOVED'"),
    ],
)
def test_missing_bytes_are_stored_in_the_transaction_or_the_tenant_has_them(
    database: Connection, change: Change
) -> None:
    without_bytes(database)
    [(column, value)] = change.items()
    chosen = f"(SELECT digest FROM releases_artifact WHERE release_id = {release('0.3')})"
    database.execute(f"UPDATE releases_blob SET {column} = {value} WHERE digest = {chosen}")
    assert refusal(database, add_bytes(), ordinary=True) == "artifact_bytes_of_tenant"
    holds = add_bytes("0.5", blob_id=chosen, resolved="false", digest=chosen)
    unguarded(database, "releases_artifact", holds)
    assert refusal(database, add_bytes(resolved="false"), ordinary=True) == ""


def test_missing_bytes_are_those_of_the_digest_and_added_once(database: Connection) -> None:
    without_bytes(database)
    assert refusal(database, add_bytes(blob_id="NULL"), ordinary=True) == "artifact_bytes_of_tenant"
    assert refusal(database, add_bytes(blob_id=f"'{'x' * 71}'"), ordinary=True) == "artifact_bytes_of_tenant"
    assert refusal(database, add_bytes(blob_id=FILE), ordinary=True) == "artifact_blob_is_its_digest"
    for kind in ("container-image", "lambda-image", "external-endpoint"):
        with database.transaction(force_rollback=True):
            unguarded(database, "releases_artifact", add_bytes(blob_id="NULL", resolved="false", kind=f"'{kind}'"))
            assert refusal(database, add_bytes(), ordinary=True) == "artifact_bytes_of_stored_kind"
    for changes in each("uri", "'x'") + each("digest", FILE) + each("release_id", release("0.2")):
        assert refusal(database, add_bytes(**changes)) == "artifact_immutable"
        assert refusal(database, add_bytes(**changes), ordinary=True) == NO_RIGHT
    unguarded(database, "releases_artifact", add_bytes())
    assert refusal(database, add_bytes(resolved="false"), ordinary=True) == "artifact_immutable"
    for value in ("digest", "NULL", FILE):
        assert refusal(database, add_bytes(blob_id=value), ordinary=True) == "artifact_immutable"


# --- responses ---

ANSWERED = """UPDATE executions_interaction SET status = 'COMPLETED', actor = 'a', response = '1', completed_at = {}
    WHERE status = 'DISPATCHED'"""


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("now()", ""),
        ("clock_timestamp()", ""),
        ("now() - interval '1 microsecond'", "interaction_answered_now"),
        ("clock_timestamp() + interval '1 second'", "interaction_answered_now"),
    ],
)
def test_a_response_has_the_current_time(database: Connection, moment: str, expected: str) -> None:
    assert refusal(database, ANSWERED.format(moment), ordinary=True) == expected


@pytest.mark.parametrize("column", ["version", "dispatch_attempts"])
def test_the_counts_of_an_interaction_never_decrease(database: Connection, column: str) -> None:
    change = "UPDATE executions_interaction SET {0} = {0} {1} WHERE status = 'DISPATCHED'"
    assert refusal(database, change.format(column, "- 1"), ordinary=True) == "interaction_counts_up"
    assert refusal(database, change.format(column, "+ 1"), ordinary=True) == ""


UNIT_OPEN = f"UPDATE executions_awaitunit SET {{}} WHERE id = {unit('asking')}"


def test_the_count_of_responses_of_a_unit_never_decreases(database: Connection) -> None:
    unguarded(database, "executions_awaitunit", UNIT_OPEN.format("expected_items = 3, answered_items = 2"))
    found = {
        count: refusal(database, UNIT_OPEN.format(f"answered_items = {count}"), ordinary=True) for count in range(4)
    }
    assert found == {0: "await_unit_counts_answers", 1: "await_unit_counts_answers", 2: "", 3: ""}


ITEMS = [*product(("COMPLETED", "DISPATCHED", "CANCELLED"), repeat=2)]


@pytest.mark.parametrize("statuses", ITEMS)
def test_a_unit_is_complete_when_each_of_its_interactions_is(database: Connection, statuses: tuple[str, ...]) -> None:
    unguarded(database, "executions_awaitunit", UNIT_OPEN.format("expected_items = 2"))
    for index, status in enumerate(statuses):
        answer = "'a', now(), '1'" if status == "COMPLETED" else "NULL, NULL, NULL"
        chosen = f"WHERE unit_id = {unit('asking')} AND item_index = {index}"
        copy = f"""INSERT INTO executions_interaction SELECT (jsonb_populate_record(i, jsonb_build_object(
            'id', gen_random_uuid(), 'item_index', {index}))).* FROM executions_interaction i
            WHERE unit_id = {unit("asking")} AND item_index IS NULL"""
        change = (
            f"UPDATE executions_interaction SET status = '{status}', (actor, completed_at, response) = ROW({answer}) "
        )
        unguarded(database, "executions_interaction", copy)
        unguarded(database, "executions_interaction", change + chosen)
    expected = "" if {*statuses} == {"COMPLETED"} else "await_unit_counts_answers"
    completion = UNIT_OPEN.format("status = 'COMPLETED', answered_items = 2")
    assert refusal(database, completion, ordinary=True) == expected


@pytest.mark.parametrize("status", AWAIT_OVER.split())
def test_an_open_unit_may_end_in_any_state_that_fits_its_responses(database: Connection, status: str) -> None:
    expected = "await_unit_counts_answers" if status == "COMPLETED" else ""
    change = UNIT_OPEN.format(
        f"status = '{status}', answered_items = CASE '{status}' WHEN 'COMPLETED' THEN 1 ELSE 0 END"
    )
    assert refusal(database, change, ordinary=True) == expected


# --- campaigns and wire forms ---


def test_an_item_is_resubmitted_with_the_execution_that_its_campaign_created(database: Connection) -> None:
    [(item,)] = database.execute("SELECT id FROM executions_campaignitem WHERE outcome = 'RESUBMITTED'")
    pending = f"UPDATE executions_campaignitem SET outcome = 'PENDING', new_execution_id = NULL WHERE id = {item}"
    created = "(SELECT new_execution_id FROM executions_resubmission)"
    other = "(SELECT id FROM executions_execution WHERE execution_key = 'succeeded')"
    change = "UPDATE executions_campaignitem SET outcome = 'RESUBMITTED', new_execution_id = {} WHERE id = " + str(item)
    expected = {created: "", other: "campaign_item_has_resubmission", "NULL": "campaign_item_resubmitted"}
    unguarded(database, "executions_campaignitem", pending)
    assert {new: refusal(database, change.format(new), ordinary=True) for new in expected} == expected
    [(another,)] = database.execute("SELECT max(id) FROM executions_campaignitem WHERE outcome = 'PENDING'")
    change = change.replace(str(item), str(another)).format(created)
    assert refusal(database, change, ordinary=True) == "campaign_item_has_resubmission"


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELLED"])
def test_a_campaign_finishes_now(database: Connection, status: str) -> None:
    change = "UPDATE executions_campaign SET status = '{}', finished_at = {} WHERE status IN ('RUNNING', 'PAUSED')"
    found = {
        moment: refusal(database, change.format(status, moment), ordinary=True)
        for moment in ("now()", "now() - interval '1 microsecond'", "now() + interval '1 second'", "NULL")
    }
    assert [*found.values()] == ["", "campaign_finish_is_now", "campaign_finish_is_now", "campaign_over_has_finish"]


def test_outputs_are_added_once_in_the_transaction_of_the_success(database: Connection) -> None:
    result = f"UPDATE executions_wireform SET result = '1' WHERE execution_id = {execution('queued')}"
    assert refusal(database, result, ordinary=True) == "wire_form_result_with_success"
    success = "UPDATE executions_execution SET status = 'SUCCEEDED', result = '1', finished_at = {} WHERE id = "
    unguarded(database, "executions_execution", success.format("now() - interval '1 second'") + execution("queued"))
    assert refusal(database, result, ordinary=True) == "wire_form_result_with_success"
    unguarded(database, "executions_execution", success.format("now()") + execution("queued"))
    assert refusal(database, result, ordinary=True) == ""
    unguarded(database, "executions_wireform", result)
    again = "UPDATE executions_wireform SET result = {} WHERE execution_id = " + execution("queued")
    for value in ("'2'", "'1'", "NULL"):
        assert refusal(database, again.format(value), ordinary=True) == "wire_form_written_once"


# --- pointers, policies and tokens ---


def test_a_pointer_names_the_newest_activation_of_its_own_pipeline(database: Connection) -> None:
    other = "(SELECT activation_id FROM releases_pipeline WHERE pipeline_id = 'org.example.other')"
    own = f"(SELECT pipeline_id FROM releases_release WHERE id = {release('1.0')})"
    for value in (other, "NULL", "0"):
        change = f"UPDATE releases_pipeline SET activation_id = {value} WHERE id = {own}"
        assert refusal(database, change, ordinary=True) == "pipeline_newest_activation"


def test_an_activation_without_its_pointer_is_not_committed(database: Connection) -> None:
    insert = f"""INSERT INTO releases_activation (pipeline_id, sequence, release_id, previous_id, kind, actor, reason)
        SELECT pipeline_id, sequence + 1, {release("0.5")}, release_id, 'activation', '', '' FROM releases_activation
        WHERE release_id = {release("1.0")}"""
    assert refusal(database, insert, ordinary=True) == "activation_moves_pointer"


def test_a_release_is_not_revoked_without_a_revocation(database: Connection) -> None:
    change = f"UPDATE releases_release SET status = 'REVOKED' WHERE id = {release('0.5')}"
    assert refusal(database, change, ordinary=True) == "release_revoked_with_reason"


RETIRE = "UPDATE releases_release SET status = 'RETIRED' WHERE id = {0}"
RECORD = "INSERT INTO releases_retirement (release_id, actor, reason, given_up_failures) VALUES ({0}, '', 'why', 0)"


def test_a_release_is_not_retired_without_a_retirement(database: Connection) -> None:
    assert refusal(database, RETIRE.format(release("0.5")), ordinary=True) == "release_retired_with_reason"


def test_neither_an_active_release_nor_one_with_open_executions_is_retired(database: Connection) -> None:
    both = f"{RETIRE}; {RECORD}"
    assert refusal(database, both.format(release("0.5")), ordinary=True) == ""
    assert refusal(database, both.format(release("1.0")), ordinary=True) == "release_retired_without_executions"
    assert refusal(database, both.format(OTHER), ordinary=True) == "release_retired_is_not_active"


@pytest.mark.parametrize("state", [State.FAILED, State.DLQ])
def test_a_failure_of_a_retired_release_is_not_queued_again(database: Connection, state: State) -> None:
    again = move(state, State.QUEUED, {})
    assert refusal(database, again, ordinary=True) == ""
    unguarded(database, "releases_release", RETIRE.format(release("1.0")))
    assert refusal(database, again, ordinary=True) == "execution_of_retired_release"


def test_the_progress_of_an_order_only_grows_until_it_is_complete(database: Connection) -> None:
    change = f"UPDATE releases_revocation SET {{}} WHERE release_id = {release('0.6')}"
    more = change.format("failed_executions = 3")
    complete = change.format("failed_executions = 3, completed_at = now()")
    assert refusal(database, more, ordinary=True) == refusal(database, complete, ordinary=True) == ""
    for wrong in (PAST, SOON):
        assert refusal(database, change.format(f"completed_at = {wrong}"), ordinary=True) == "revocation_guard"
    unguarded(database, "releases_revocation", more)
    less = change.format("failed_executions = 2")
    assert refusal(database, less, ordinary=True) == "revocation_guard"
    unguarded(database, "releases_revocation", complete)
    for after in ("failed_executions = 4", "completed_at = NULL", "completed_at = now()"):
        assert refusal(database, change.format(after), ordinary=True) == "revocation_guard"


def test_a_finished_upload_is_cleared_once(database: Connection) -> None:
    change = "UPDATE releases_artifactupload SET cleared = {} WHERE status IN ('STORED', 'REJECTED', 'EXPIRED')"
    assert refusal(database, change.format("true"), ordinary=True) == ""
    unguarded(database, "releases_artifactupload", change.format("true"))
    assert refusal(database, change.format("false"), ordinary=True) == "upload_finished"


def test_a_token_ends_earlier_and_never_later(database: Connection) -> None:
    change = "UPDATE tenancy_apitoken SET expiry = expiry {} interval '1 microsecond'"
    assert refusal(database, change.format("-"), ordinary=True) == ""
    assert refusal(database, change.format("+"), ordinary=True) == "token_ends_earlier"
    assert refusal(database, "UPDATE tenancy_apitoken SET expiry = expiry", ordinary=True) == ""
