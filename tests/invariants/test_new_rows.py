import pytest

from tests.invariants.attempts import Connection
from tests.invariants.new_rows import PAST, SOON, NewRow
from tests.invariants.new_rows_of_activations import ACTIVATIONS
from tests.invariants.new_rows_of_executions import EXECUTIONS
from tests.invariants.new_rows_of_operations import OPERATIONS
from tests.invariants.new_rows_of_releases import RELEASES
from tests.invariants.new_rows_of_tenants import ALERTS, TENANCY

NEW_ROWS = [*TENANCY, *ALERTS, *RELEASES, *ACTIVATIONS, *EXECUTIONS, *OPERATIONS]


def name_of(row: NewRow) -> str:
    before = [earlier.table for earlier in NEW_ROWS[: NEW_ROWS.index(row)]].count(row.table)
    return row.table + (f" {before + 1}" if before else "")


@pytest.mark.parametrize("row", NEW_ROWS, ids=name_of)
def test_wrong_values_are_rejected(database: Connection, row: NewRow) -> None:
    verdicts = [(row.result(database, changed), changed) for _, changed in row.attempts]
    assert verdicts == row.attempts


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
