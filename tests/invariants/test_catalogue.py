"""The database catalogue has exactly the triggers and constraints that these tests exercise."""

import re
from pathlib import Path

from django.db.models import ForeignKey

from tests.invariants.attempts import Connection
from tests.invariants.matrix import MATRIX
from tests.invariants.schema import fields
from tests.invariants.test_checks import unknown_choices

OURS = "c.relnamespace = 'public'::regnamespace AND c.relname ~ '^(tenancy|releases|executions|alerts|coordinator)_'"
# The names that errors report: triggers (or the names that their functions raise) and CHECK constraints, except those
# that Django names. `test_matrix` has the triggers against TRUNCATE.
GUARDS = rf"""
WITH guards AS (
    SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgtype & 32 = 0 AND {OURS})
SELECT tgname FROM guards WHERE prosrc LIKE '%CONSTRAINT = TG_NAME%' OR prosrc NOT LIKE '%CONSTRAINT = %'
UNION SELECT (regexp_matches(prosrc, 'CONSTRAINT = ''(\w+)''', 'g'))[1] FROM guards
UNION SELECT k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype = 'c' AND k.conname NOT LIKE '%\_check' AND {OURS}
"""
DISABLED = f"""
SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgenabled <> 'O' AND {OURS}
UNION SELECT k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE NOT k.convalidated AND {OURS}
"""
UNIQUE_KEYS = f"""
SELECT i.relname, regexp_replace(pg_get_indexdef(i.oid), '.* USING btree ', '')
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
WHERE x.indisunique AND NOT x.indisprimary AND {OURS}
"""
REFERENCES = f"""
SELECT c.relname, a.attname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) WHERE k.contype = 'f' AND {OURS}
"""
UNIQUE = {
    "tenancy_tenant_slug_key": "(slug)",
    "membership_once": "(user_id, tenant_id, role)",
    "token_name_once": "(tenant_id, name)",
    "saved_view_own_once": "(owner_id, page, name) WHERE (tenant_id IS NULL)",
    "saved_view_shared_once": "(tenant_id, page, name) WHERE (tenant_id IS NOT NULL)",
    "audit_head_once": "(tenant_id) NULLS NOT DISTINCT",
    "audit_sequence_once": "(tenant_id, sequence) NULLS NOT DISTINCT",
    "pipeline_once": "(tenant_id, pipeline_id)",
    "releases_pipeline_activation_id_key": "(activation_id)",
    "contract_once": "(pipeline_id, contract_version)",
    "release_once": "(pipeline_id, release_version) WHERE (NOT ((status)::text = 'REJECTED'::text))",
    "artifact_position_once": '(release_id, "position")',
    "activation_sequence_once": "(pipeline_id, sequence)",
    "gradual_activation_one_running": "(pipeline_id) WHERE ((status)::text = 'RUNNING'::text)",
    "activation_operation_once": "(pipeline_id, operation_key)",
    "releases_activation_request_id_key": "(request_id)",
    "activation_request_operation_once": "(pipeline_id, operation_key)",
    "vote_once": "(request_id, round, voter_id)",
    "deployment_key_once": "(tenant_id, idempotency_key)",
    "releases_revocation_release_id_key": "(release_id)",
    "releases_retirement_release_id_key": "(release_id)",
    "attachment_position_once": '(release_id, "position")',
    "attachment_once": "(release_id, digest)",
    "trusted_key_name_once": "(tenant_id, name)",
    "trusted_key_once": "(tenant_id, key_id)",
    "releases_keyrevocation_key_id_key": "(key_id)",
    "blob_lease_once": "(holder, resource)",
    "upload_live_once": "(tenant_id, digest, size) WHERE ((status)::text = ANY "
    "((ARRAY['OPEN'::character varying, 'VERIFYING'::character varying])::text[]))",
    "execution_key_once": "(tenant_id, pipeline_id, execution_key)",
    "event_sequence_once": "(execution_id, sequence)",
    "dead_letter_once": "(execution_id, execution_version)",
    "failure_group_once": "(release_id, step_index, fingerprint)",
    "await_unit_one_open": "(execution_id) WHERE ((status)::text = 'WAITING_EXTERNAL'::text)",
    "await_unit_key_of_interactions": "(id, execution_id, tenant_id)",
    "interaction_item_once": "(unit_id, item_index) NULLS NOT DISTINCT",
    "interaction_event_once": "(interaction_id, sequence)",
    **{f"hold_of_{target}_once": f"({target}_id) WHERE (ended_at IS NULL)" for target in ("execution", "release")},
    "hold_of_pipeline_once": "(pipeline_id) WHERE (ended_at IS NULL)",
    "campaign_item_once": "(campaign_id, execution_id)",
    "resubmission_operation_once": "(execution_id, operation_key)",
    "resubmission_by_campaign_once": "(execution_id, execution_version) WHERE (campaign_id IS NOT NULL)",
    "worker_once": "(tenant_id, pipeline_id, worker_id)",
    "worker_key_change_once": "(tenant_id, number)",
    "finished_count_once": "(minute, release_id)",
    "alert_channel_name_once": "(tenant_id, name) WHERE (removed_at IS NULL)",
    "alert_rule_name_once": "(tenant_id, name) WHERE (removed_at IS NULL)",
    "rule_channel_once": "(rule_id, channel_id)",
    "process_once": "(kind, host, pid)",
    "alert_one_firing": "(rule_id, subject) WHERE ((state)::text = 'FIRING'::text)",
}


KEPT = {
    ("executions_campaignitem", "execution_id"),
    ("executions_campaignitem", "new_execution_id"),
    ("executions_resubmission", "new_execution_id"),
}


def names(database: Connection, query: str) -> set[str]:
    return {name for (name,) in database.execute(query)}


def test_every_trigger_and_check_is_tested(database: Connection) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("*.py"))
    tested = {*re.findall(r"\w+", text), *unknown_choices(database).values()}
    assert names(database, GUARDS) - tested == set()


def test_no_trigger_is_disabled_and_every_constraint_is_validated(database: Connection) -> None:
    assert names(database, DISABLED) == set()


def test_the_unique_keys(database: Connection) -> None:
    assert dict(database.execute(UNIQUE_KEYS)) == UNIQUE


def test_every_reference_is_a_foreign_key(database: Connection) -> None:
    """Exceptions: campaigns and links keep references to executions that retention has removed."""
    found_keys = {
        (table, name) for table in MATRIX for name, field in fields(table).items() if isinstance(field, ForeignKey)
    }
    found = {(table, column) for table, column in database.execute(REFERENCES)}
    assert found == found_keys - KEPT
