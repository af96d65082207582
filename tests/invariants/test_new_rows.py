"""Every wrong value of a new row is rejected by the expected constraint or trigger."""

import pytest

from foundation.database.postgresql.rights import RIGHTS
from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.matrix import MATRIX
from tests.invariants.new_rows import PAST, SOON, Change, NewRow, release, tenant
from tests.invariants.new_rows_of_alerts import ALERTS
from tests.invariants.new_rows_of_artifacts import ARTIFACTS
from tests.invariants.new_rows_of_audit import AUDIT
from tests.invariants.new_rows_of_claims import CLAIMS
from tests.invariants.new_rows_of_deployments import DEPLOYMENTS
from tests.invariants.new_rows_of_executions import EXECUTIONS
from tests.invariants.new_rows_of_failures import FAILURES
from tests.invariants.new_rows_of_gradual import GRADUAL
from tests.invariants.new_rows_of_holds import HOLDS
from tests.invariants.new_rows_of_operations import OPERATIONS
from tests.invariants.new_rows_of_releases import DOCUMENTS, HISTORY
from tests.invariants.new_rows_of_requests import REQUESTS
from tests.invariants.new_rows_of_resubmissions import RESUBMISSIONS
from tests.invariants.new_rows_of_retirements import RETIREMENTS
from tests.invariants.new_rows_of_smoke_tests import SMOKE_TESTS
from tests.invariants.new_rows_of_tenants import TENANCY

NEW_ROWS = [
    *(*TENANCY, *AUDIT, *DOCUMENTS, *ARTIFACTS, *HISTORY, *REQUESTS, *GRADUAL, *RETIREMENTS, *DEPLOYMENTS),
    *(*EXECUTIONS, *FAILURES, *HOLDS, *OPERATIONS, *RESUBMISSIONS, *SMOKE_TESTS, *CLAIMS, *ALERTS),
]
OTHERWISE = {"executions_executionevent"}  # see `test_sequences`


def prepare(database: Connection, row: NewRow, change: Change) -> None:
    for statement in row.preparation(change):
        first, second, third, *_ = statement.split()
        unguarded(database, second if first == "UPDATE" else third, statement)


def result(database: Connection, row: NewRow, change: Change) -> str:
    """Return the name of what rejects the row with `change`, or "" if it is accepted."""
    with database.transaction(force_rollback=True):
        prepare(database, row, change)
        return refusal(database, row.statement(change), ordinary=row.ordinary)


def name_of(row: NewRow) -> str:
    before = [each.table for each in NEW_ROWS[: NEW_ROWS.index(row)]].count(row.table)
    return row.table + (f" {before + 1}" if before else "")


@pytest.mark.parametrize("row", NEW_ROWS, ids=name_of)
def test_wrong_values_are_rejected(database: Connection, row: NewRow) -> None:
    accepted = {str(change): result(database, row, change) for change in ({}, *row.right)}
    assert accepted == dict.fromkeys(accepted, "")
    tried = [(name, change) for name, changes in row.wrong.items() for change in changes]
    found = {str(change): result(database, row, change) for _, change in tried}
    assert found == {str(change): name for name, change in tried}


def test_every_column_of_a_new_row_is_tested() -> None:
    for table in MATRIX:
        rows = [row for row in NEW_ROWS if row.table == table]
        placed = {name for row in rows for name in {*row.judged, *row.free.split()}}
        assert {*RIGHTS[table].insert.split()} - placed == set() or table in OTHERWISE, table


HEAD = "tenancy_audithead head WHERE head.tenant_id = tenancy_auditentry.tenant_id"
BEFORE = (
    "tenancy_auditentry before WHERE (before.tenant_id, before.sequence + 1) = "
    "(tenancy_auditentry.tenant_id, tenancy_auditentry.sequence)"
)
CHOSEN: dict[str, Change] = {
    "tenancy_logincounter": {"known_until": "NULL"},
    "tenancy_auditentry": {
        "sequence": f"(SELECT head.sequence FROM {HEAD})",
        "at": "greatest(at, now())",
        "previous_hash": f"(SELECT before.hash FROM {BEFORE})",
        "hash": f"(SELECT head.hash FROM {HEAD})",
    },
    "tenancy_audithead": {"tenant_id": tenant("other"), "sequence": "1", "hash": "''"},
    "executions_execution": {
        **{"status": "'QUEUED'", "version": "0", "event_count": "1", "attempt": "0", "budget_start": "0"},
        **{"takeovers": "0", "held": "false"},
        **dict.fromkeys(("next_due_at", "created_at", "updated_at"), "now()"),
        **dict.fromkeys(("lease_owner", "lease_protocol", "lease_worker", "lease_token", "lease_expires_at"), "NULL"),
        **dict.fromkeys(("running_since", "await_unit_id"), "NULL"),
        **dict.fromkeys(("last_transition_key", "result", "finished_at"), "NULL"),
        **dict.fromkeys(("error_code", "error_message"), "NULL"),
    },
    "executions_executionevent": {"at": "now()"},
    "executions_deadletter": {
        "created_at": "now()",
        "failed_step_index": "step_index",
        "fingerprint": "failure_fingerprint(error_code, error_message)",
        "group_id": f"failure_group_id({release('1.0')}, failed_step_index, fingerprint)",
    },
    "executions_failuregroup": {
        **{"tenant_id": tenant("owner"), "release_id": release("1.0"), "step_index": "0", "fingerprint": "'f'"},
        **{"error_code": "'x'", "sample_message": "''", "first_seen_at": "now()", "last_seen_at": "now()"},
        **{"acknowledged_by": "''", "acknowledged_at": "NULL", "assignee": "''", "note": "''"},
    },
    "executions_awaitunit": {
        **{"status": "'WAITING_EXTERNAL'", "answered_items": "0"},
        **dict.fromkeys(("created_at", "updated_at"), "now()"),
    },
    "executions_interaction": {
        **dict.fromkeys(("first_deadline", "note", "channel", "claimed_by", "claimed_until", "delegate"), "NULL"),
        "claim_changes": "0",
    },
    "executions_interactionevent": {"at": "now()"},
    "executions_hold": {
        "started_at": "greatest(started_at, now())",
        **dict.fromkeys(("ended_at", "ended_by", "end_reason"), "NULL"),
    },
    "executions_campaignitem": {
        "outcome": "'PENDING'",
        "code": "''",
        "at": "NULL",
        "new_execution_id": "NULL",
    },
    "executions_resubmission": {"created_at": "now()"},
    "alerts_alert": {
        **{"state": "'FIRING'", "started_at": "now()", "silenced_by": "''"},
        **dict.fromkeys(("clear_since", "notified_at", "silenced_until", "resolved_at"), "NULL"),
    },
    "alerts_alertevent": {"at": "now()"},
    "alerts_alertdelivery": {
        **{"state": "'PENDING'", "attempts": "0", "error": "''", "finished_at": "NULL"},
        **dict.fromkeys(("next_at", "created_at"), "now()"),
    },
}
"""The values that the database sets in columns that the application role may not insert."""


@pytest.mark.parametrize("table", MATRIX)
def test_the_database_chooses_the_other_columns(database: Connection, table: str) -> None:
    chosen = CHOSEN.get(table, {})
    assert MATRIX[table].columns - {*RIGHTS[table].insert.split()} - {"id"} == chosen.keys()
    source = "executions_execution" if table == "executions_executionevent" else table
    row = next(row for row in NEW_ROWS if row.table == source)
    prepare(database, row, {})
    database.execute(row.statement({}))
    fits = " AND ".join(f"{column} IS NOT DISTINCT FROM {value}" for column, value in chosen.items())
    query = f"SELECT bool_and({fits or 'true'}) FROM {table} WHERE xmin = pg_current_xact_id()::xid"
    assert database.execute(query).fetchone() == (True,)


STAMPS = {
    "audit_entry_appended": """INSERT INTO tenancy_auditentry
        (tenant_id, sequence, at, actor, act, object_type, object, outcome, reason, request_id, address, details,
            previous_hash, hash)
        SELECT id, 99, {moment}, '', 'thing', '', '', 'granted', '', '', '', '{{}}', 'x', 'x' FROM tenancy_tenant
        WHERE slug = 'owner'
        RETURNING at BETWEEN now() AND clock_timestamp() AND sequence < 99 AND length(previous_hash || hash) = 128""",
    "admin_log_stamped": """INSERT INTO django_admin_log
        (action_time, object_repr, action_flag, change_message, user_id)
        SELECT {moment}, '', 1, '', id FROM auth_user RETURNING action_time = now()""",
    "token_stamped": """INSERT INTO tenancy_apitoken
        (digest, token_key, created, expiry, name, scopes, user_id, tenant_id)
        SELECT 'x', 'x', {moment}, now(), 'x', scopes, user_id, tenant_id FROM tenancy_apitoken
        RETURNING created = now() AND expiry = now()""",
    "activation_stamped": """INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, activated_at)
        SELECT pipeline_id, sequence + 1, release_id, release_id, 'activation', '', '', {moment}
        FROM releases_activation WHERE pipeline_id NOT IN (SELECT pipeline_id FROM releases_gradualactivation)
        RETURNING activated_at BETWEEN statement_timestamp() AND clock_timestamp()""",
    "gradual_activation_new": """INSERT INTO releases_gradualactivation
        (id, pipeline_id, baseline_id, candidate_id, steps, groups, bounds, step, step_started_at, status, actor,
            reason, started_at)
        SELECT gen_random_uuid(), r.pipeline_id, a.release_id, r.id, '[1]', '1', '1', 0, {moment}, 'RUNNING', '', '',
            {moment}
        FROM releases_release r JOIN releases_activation a USING (pipeline_id) WHERE r.release_version = '0.5'
        RETURNING started_at BETWEEN statement_timestamp() AND clock_timestamp() AND step_started_at = started_at""",
    "worker_key_change_follows": """INSERT INTO executions_workerkeychange
        (tenant_id, number, newest, oldest, actor, reason, at)
        SELECT tenant_id, number + 1, newest, oldest, '', '', {moment} FROM executions_workerkeychange
        RETURNING at = now()""",
}


@pytest.mark.parametrize("moment", [PAST, SOON])
@pytest.mark.parametrize("trigger", STAMPS)
def test_a_trigger_sets_the_time_of_the_database(database: Connection, trigger: str, moment: str) -> None:
    assert database.execute(STAMPS[trigger].format(moment=moment)).fetchone() == (True,)


@pytest.mark.parametrize(("lifetime", "kept"), [("1 day", "1 day"), ("365 days", "365 days"), ("10 years", "365 days")])
def test_a_token_is_valid_for_at_most_a_year(database: Connection, lifetime: str, kept: str) -> None:
    insert = f"""INSERT INTO tenancy_apitoken
        (digest, token_key, created, expiry, name, scopes, user_id, tenant_id)
        SELECT 'x', 'x', now(), now() + interval '{lifetime}', 'x', scopes, user_id, tenant_id FROM tenancy_apitoken
        RETURNING expiry = now() + interval '{kept}'"""
    assert database.execute(insert).fetchone() == (True,)
