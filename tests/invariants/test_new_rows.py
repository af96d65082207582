"""Every wrong value of a new row is rejected by the expected constraint or trigger."""

import pytest

from foundation.database.postgresql.rights import RIGHTS
from tests.invariants.attempts import Connection, unguarded
from tests.invariants.matrix import MATRIX
from tests.invariants.new_rows import PAST, SOON, Change, NewRow, change, plain_value, release, tenant
from tests.invariants.new_rows_of_activations import ACTIVATIONS
from tests.invariants.new_rows_of_executions import EXECUTIONS
from tests.invariants.new_rows_of_operations import OPERATIONS
from tests.invariants.new_rows_of_releases import RELEASES
from tests.invariants.new_rows_of_tenants import ALERTS, TENANCY
from tests.invariants.schema import fields

NEW_ROWS = [*TENANCY, *ALERTS, *RELEASES, *ACTIVATIONS, *EXECUTIONS, *OPERATIONS]


def name_of(row: NewRow) -> str:
    before = [each.table for each in NEW_ROWS[: NEW_ROWS.index(row)]].count(row.table)
    return row.table + (f" {before + 1}" if before else "")


@pytest.mark.parametrize("row", NEW_ROWS, ids=name_of)
def test_wrong_values_are_rejected(database: Connection, row: NewRow) -> None:
    found = [(row.result(database, changed), changed) for _, changed in row.attempts]
    assert found == row.attempts


def test_every_table_has_a_new_row() -> None:
    written_with_others = {"executions_executionevent"}  # see `test_sequences`
    assert {row.table for row in NEW_ROWS} | written_with_others == {*MATRIX}


HEAD = "tenancy_audithead head WHERE head.tenant_id = tenancy_auditentry.tenant_id"
BEFORE = (
    "tenancy_auditentry before WHERE (before.tenant_id, before.sequence + 1) = "
    "(tenancy_auditentry.tenant_id, tenancy_auditentry.sequence)"
)
CHOSEN = {
    "tenancy_logincounter": "known_until",
    "tenancy_auditentry": f"""
        sequence = (SELECT head.sequence FROM {HEAD}) & at = greatest(at, now())
        previous_hash = (SELECT before.hash FROM {BEFORE}) & hash = (SELECT head.hash FROM {HEAD})
    """,
    "tenancy_audithead": f"tenant_id = {tenant('other')} & sequence = 1 & hash = ''",
    "executions_execution": """
        version attempt budget_start takeovers held next_due_at created_at updated_at lease_owner lease_protocol
        lease_worker lease_token lease_expires_at running_since await_unit_id last_transition_key result finished_at
        error_code error_message
        status = 'QUEUED' & event_count = 1
    """,
    "executions_executionevent": "at",
    "executions_deadletter": f"""
        created_at
        failed_step_index = step_index & fingerprint = failure_fingerprint(error_code, error_message)
        group_id = failure_group_id({release("1.0")}, failed_step_index, fingerprint)
    """,
    "executions_failuregroup": f"""
        tenant_id step_index sample_message first_seen_at last_seen_at acknowledged_by acknowledged_at assignee note
        id = failure_group_id({release("1.0")}, 0, 'f')
        release_id = {release("1.0")} & fingerprint = 'f' & error_code = 'x'
    """,
    "executions_awaitunit": """
        answered_items created_at updated_at
        status = 'WAITING_EXTERNAL'
    """,
    "executions_interaction": "first_deadline note channel claimed_by claimed_until delegate claim_changes",
    "executions_interactionevent": "at",
    "executions_hold": """
        ended_at ended_by end_reason
        started_at = greatest(started_at, now())
    """,
    "executions_campaignitem": """
        code at new_execution_id
        outcome = 'PENDING'
    """,
    "executions_resubmission": "created_at",
    "alerts_alert": """
        started_at silenced_by clear_since notified_at silenced_until resolved_at
        state = 'FIRING'
    """,
    "alerts_alertevent": "at",
    "alerts_alertdelivery": """
        attempts error finished_at next_at created_at
        state = 'PENDING'
    """,
}
"""The columns that the application role may not insert: names of those with plain values, and values of the others."""


def chosen_by_the_database(table: str) -> Change:
    lines = CHOSEN.get(table, "").splitlines()
    plain = " ".join(line for line in lines if " = " not in line).split()
    others = change("\n".join(line for line in lines if " = " in line))
    return {**{name: plain_value(table, name) for name in plain}, **others}


@pytest.mark.parametrize("table", MATRIX)
def test_the_database_chooses_the_other_columns(database: Connection, table: str) -> None:
    chosen = chosen_by_the_database(table)
    keys = {name for name, field in fields(table).items() if field.primary_key and field.has_db_default()} | {"id"}
    assert {*fields(table)} - {*RIGHTS[table].insert.split()} - keys == {*chosen} - keys
    source = "executions_execution" if table == "executions_executionevent" else table
    row = next(row for row in NEW_ROWS if row.table == source)
    for statement in filter(str.strip, row.setup.split(";")):
        unguarded(database, statement)
    database.execute(row.statement())
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


@pytest.mark.parametrize("trigger", STAMPS)
def test_a_trigger_sets_the_time_of_the_database(database: Connection, trigger: str) -> None:
    for moment in (PAST, SOON):
        with database.transaction(force_rollback=True):
            assert database.execute(STAMPS[trigger].format(moment=moment)).fetchone() == (True,), moment


def test_a_token_is_valid_for_at_most_a_year(database: Connection) -> None:
    insert = """INSERT INTO tenancy_apitoken
        (digest, token_key, created, expiry, name, scopes, user_id, tenant_id)
        SELECT 'x', 'x', now(), now() + interval '{}', 'x', scopes, user_id, tenant_id FROM tenancy_apitoken
        RETURNING expiry = now() + interval '{}'"""
    for lifetime, kept in (("1 day", "1 day"), ("365 days", "365 days"), ("10 years", "365 days")):
        with database.transaction(force_rollback=True):
            assert database.execute(insert.format(lifetime, kept)).fetchone() == (True,), lifetime
