"""The database refuses forged rows that the application role inserts with raw SQL."""

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from coordinator.postgresql.rights import RIGHTS
from tests.invariants.copies import MODELS, copy_of

Connection = psycopg.Connection[Any]
PAST: LiteralString = "now() - interval '1 day'"
SOON: LiteralString = "now() + interval '1 minute'"
NEW_ID: LiteralString = "gen_random_uuid()"
EMPTY: LiteralString = "'sha256:' || encode(sha256(''), 'hex')"
TIMES: list[tuple[str, str, LiteralString, dict[str, LiteralString]]] = [
    ("tenancy_tenant", "tenant_starts", "true", {"slug": "slug || 'x'"}),
    ("releases_pipeline", "pipeline_starts", "true", {"pipeline_id": "pipeline_id || 'x'", "activation_id": "NULL"}),
    ("releases_blob", "blob_starts", "state = 'SOUND'", {"digest": EMPTY}),
    ("releases_blobevent", "blob_event_starts", "kind = 'REMOVED'", {}),
    ("releases_artifactupload", "upload_starts", "status = 'OPEN'", {"id": NEW_ID, "size": "size + 1"}),
    ("releases_release", "release_starts", "status = 'UPLOADED'", {"release_version": "'9'"}),
    ("releases_activation", "activation_starts", "true", {"sequence": "sequence + 1", "previous_id": "release_id"}),
    ("releases_attachment", "attachment_starts", "true", {"position": "1", "digest": EMPTY, "content": "''"}),
    ("releases_trustedkey", "trusted_key_starts", "name = 'new'", {"name": "'x'", "key_id": "repeat('0', 64)"}),
    (
        "releases_keyrevocation",
        "key_revocation_starts",
        "true",
        {"key_id": "(SELECT id FROM releases_trustedkey WHERE name = 'new')"},
    ),
    ("executions_campaign", "campaign_starts", "status = 'RUNNING'", {"id": NEW_ID}),
    ("executions_workerevent", "worker_event_starts", "state = 'HEALTHY'", {}),
]
REGISTERED: LiteralString = "(SELECT id FROM releases_release WHERE release_version = '0.5')"
UPLOADED: LiteralString = "(SELECT id FROM releases_release WHERE status = 'UPLOADED')"
QUEUED: LiteralString = "(SELECT id FROM executions_execution WHERE status = 'QUEUED' LIMIT 1)"
OTHER_TENANT: LiteralString = "(SELECT id FROM tenancy_tenant WHERE slug = 'other')"
COPIES: list[tuple[str, str, LiteralString, dict[str, LiteralString]]] = [
    ("releases_release", "release_starts", "status = 'REGISTERED'", {"release_version": "'9'"}),
    ("releases_release", "release_starts", "status = 'REVOKED'", {"release_version": "'9'"}),
    ("releases_contract", "contract_of_verification", "true", {"contract_version": "'9'"}),
    ("releases_artifact", "artifact_of_upload", "true", {"release_id": REGISTERED, "position": "1"}),
    ("releases_artifact", "artifact_of_upload", "true", {"release_id": UPLOADED, "position": "1"}),
    (
        "releases_activation",
        "activation_own_release",
        "true",
        {
            "release_id": REGISTERED,
            "sequence": "sequence + 1",
            "pipeline_id": "(SELECT id FROM releases_pipeline WHERE pipeline_id = 'org.example.other')",
        },
    ),
    ("releases_revocation", "revocation_of_revoked", "true", {"release_id": REGISTERED}),
    (
        "releases_attachment",
        "attachment_of_usable_release",
        "true",
        {"position": "0", "release_id": "(SELECT id FROM releases_release WHERE status = 'REJECTED')"},
    ),
    ("releases_attachment", "attachment_in_sequence", "true", {"position": "2", "digest": EMPTY, "content": "''"}),
    ("releases_blob", "blob_starts", "state = 'DAMAGED'", {"digest": EMPTY}),
    ("releases_blobevent", "blob_event_of_change", "kind = 'DAMAGED'", {}),
    (
        "releases_blobevent",
        "blob_event_of_change",
        "true",
        {"kind": "'HEALED'", "digest": "(SELECT digest FROM releases_blob WHERE state = 'SOUND' LIMIT 1)"},
    ),
    ("releases_artifactupload", "upload_starts", "status = 'STORED'", {"id": NEW_ID}),
    (
        "executions_execution",
        "execution_pin_exists",
        "status = 'QUEUED'",
        {"id": NEW_ID, "execution_key": "'x'", "release_id": REGISTERED, "release_version": "'0.5'"},
    ),
    ("executions_execution", "execution_pin_exists", "status = 'QUEUED'", {"id": NEW_ID, "tenant_id": OTHER_TENANT}),
    (
        "executions_execution",
        "execution_counts_its_events",
        "status = 'QUEUED'",
        {"id": NEW_ID, "execution_key": "'x'"},
    ),
    ("executions_deadletter", "dead_letter_of_failure", "true", {"execution_id": QUEUED}),
    ("executions_deadletter", "dead_letter_of_failure", "true", {"execution_version": "execution_version - 1"}),
    (
        "executions_deadletter",
        "dead_letter_of_failure",
        "true",
        {"tenant_id": OTHER_TENANT, "execution_version": "execution_version - 1"},
    ),
    ("executions_awaitunit", "await_unit_of_waiting", "status = 'COMPLETED'", {"id": NEW_ID}),
    ("executions_awaitunit", "await_unit_of_waiting", "true", {"id": NEW_ID, "execution_id": QUEUED}),
    ("executions_interaction", "interaction_starts", "status = 'COMPLETED'", {"id": NEW_ID, "item_index": "1"}),
    (
        "executions_interaction",
        "interaction_of_open_unit",
        "status = 'DISPATCHED'",
        {"id": NEW_ID, "item_index": "1", "version": "0"},
    ),
    (
        "executions_wireform",
        "wire_form_input_with_submission",
        "true",
        {"execution_id": "(SELECT id FROM executions_execution WHERE status = 'SUCCEEDED' LIMIT 1)"},
    ),
    ("executions_campaign", "campaign_starts", "status = 'PAUSED'", {"id": NEW_ID}),
    ("executions_campaign", "campaign_starts", "status = 'COMPLETED'", {"id": NEW_ID}),
    ("executions_campaignitem", "campaign_items_with_campaign", "true", {"execution_id": QUEUED}),
    ("executions_campaignevent", "campaign_event_of_change", "kind = 'STARTED'", {}),
    ("executions_campaignevent", "campaign_event_of_change", "kind = 'PAUSED'", {"kind": "'RESUMED'"}),
    ("executions_workerevent", "worker_event_of_state", "true", {"state": "'STALE'"}),
]
STATEMENTS: list[tuple[str, LiteralString]] = [
    (
        "event_in_sequence",
        """WITH noted AS (UPDATE executions_execution SET event_count = event_count + 1
            WHERE status = 'QUEUED' RETURNING id, event_count)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count, 'CANCELLED', 'CANCELLED', '', '{}' FROM noted""",
    ),
    (
        "event_in_sequence",
        """INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count + 1, 'NOTED', status, '', '{}' FROM executions_execution""",
    ),
    ("release_revoked_with_reason", "UPDATE releases_release SET status = 'REVOKED' WHERE release_version = '0.5'"),
    (
        "revocation_starts",
        """WITH revoked AS (
            UPDATE releases_release SET status = 'REVOKED' WHERE release_version = '0.5' RETURNING id)
        INSERT INTO releases_revocation (release_id, actor, reason, revoked_at)
        SELECT id, '', 'leaked', now() - interval '1 day' FROM revoked""",
    ),
    (
        "interaction_answered_now",
        """UPDATE executions_interaction SET status = 'COMPLETED', actor = 'eva',
        response = '1', completed_at = now() - interval '1 day' WHERE status = 'DISPATCHED'""",
    ),
    (
        "interaction_answered_now",
        """UPDATE executions_interaction SET status = 'COMPLETED', actor = 'eva',
        response = '1', completed_at = now() + interval '1 day' WHERE status = 'DISPATCHED'""",
    ),
    (
        "await_unit_counts_answers",
        """UPDATE executions_awaitunit SET status = 'COMPLETED',
        answered_items = expected_items WHERE status = 'WAITING_EXTERNAL'""",
    ),
    (
        "campaign_finish_is_now",
        """UPDATE executions_campaign SET status = 'CANCELLED',
        finished_at = now() - interval '1 day' WHERE status = 'RUNNING'""",
    ),
    (
        "campaign_event_starts",
        """WITH paused AS (
            UPDATE executions_campaign SET status = 'PAUSED' WHERE status = 'RUNNING' RETURNING id)
        INSERT INTO executions_campaignevent (campaign_id, kind, actor, data, at)
        SELECT id, 'PAUSED', '', '{}', now() - interval '1 day' FROM paused""",
    ),
    (
        "campaign_items_with_campaign",
        """WITH made AS (
            INSERT INTO executions_campaign (id, tenant_id, filters, allow_failed, reason, rate_per_minute, status,
                admitted, created_by)
            SELECT gen_random_uuid(), id, '{}', true, 'x', 1, 'RUNNING', 0, '' FROM tenancy_tenant WHERE slug = 'other'
            RETURNING id)
        INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        SELECT made.id, e.id, e.version FROM made, executions_execution e WHERE e.status = 'DLQ'""",
    ),
]
# A release that references bytes of another tenant by their digest.
STOLEN: LiteralString = """
WITH made AS (
    INSERT INTO releases_pipeline (tenant_id, pipeline_id, reason_required, signature_policy, validate_answers)
    SELECT id, 'stolen', false, 'off', true FROM tenancy_tenant WHERE slug = 'other' RETURNING id
), uploaded AS (
    INSERT INTO releases_release (pipeline_id, contract_version, release_version, descriptor, status, findings,
        primary_artifact_id, uploaded_by)
    SELECT made.id, r.contract_version, r.release_version, r.descriptor, 'UPLOADED', '[]', '', ''
    FROM made, releases_release r WHERE r.id = {registered} RETURNING id
)
INSERT INTO releases_artifact (release_id, position, artifact_id, kind, uri, digest, step_ids, capabilities, blob_id)
SELECT uploaded.id, position, artifact_id, kind, uri, digest, step_ids, capabilities, {blob}
FROM uploaded, releases_artifact WHERE release_id = {registered}
"""


@pytest.fixture
def forger(ordinary: Connection) -> Iterator[Connection]:
    """A connection whose changes are rolled back after the test."""
    with ordinary.transaction(force_rollback=True):
        yield ordinary


def refused(connection: Connection, statement: sql.Composable) -> str | None:
    """The name of the constraint that refuses `statement`, at once or at the commit. Fails if none does."""
    try:
        with connection.transaction():
            written = connection.execute(sql.SQL("{}").format(statement)).rowcount
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.errors.IntegrityError as error:
        return error.diag.constraint_name
    pytest.fail(f"The database accepted {written} rows.")


def copied(table: str, where: LiteralString, changes: dict[str, LiteralString]) -> sql.Composed:
    key = sql.Identifier(str(MODELS[table]._meta.pk.column))
    one = sql.SQL("{key} = (SELECT {key} FROM {table} WHERE {where} ORDER BY {key} DESC LIMIT 1)")
    chosen = one.format(key=key, table=sql.Identifier(table), where=sql.SQL(where))
    return copy_of(table, chosen, {name: sql.SQL(value) for name, value in changes.items()})


@pytest.mark.parametrize("moment", [PAST, SOON])
@pytest.mark.parametrize(("table", "constraint", "where", "changes"), TIMES)
def test_a_new_row_has_the_current_time(
    forger: Connection,
    table: str,
    constraint: str,
    where: LiteralString,
    changes: dict[str, LiteralString],
    moment: LiteralString,
) -> None:
    [*columns] = (
        name
        for name in (
            "created_at",
            "checked_at",
            "status_changed_at",
            "rate_since",
            "at",
            "activated_at",
            "attached_at",
            "added_at",
            "revoked_at",
        )
        if name in RIGHTS[table].insert.split()
    )
    for column in columns:
        assert refused(forger, copied(table, where, {**changes, column: moment})) == constraint


@pytest.mark.parametrize(("table", "constraint", "where", "changes"), COPIES)
def test_a_forged_copy_is_refused(
    forger: Connection, table: str, constraint: str, where: LiteralString, changes: dict[str, LiteralString]
) -> None:
    assert refused(forger, copied(table, where, changes)) == constraint


@pytest.mark.parametrize(("constraint", "statement"), STATEMENTS)
def test_a_statement_that_forges_history_is_refused(
    forger: Connection, constraint: str, statement: LiteralString
) -> None:
    assert refused(forger, sql.SQL(statement)) == constraint


def test_a_contract_is_inserted_only_while_its_release_is_verified(forger: Connection) -> None:
    uploaded = {"contract_version": sql.SQL("'9'"), "release_version": sql.SQL("'9'")}
    forger.execute(copy_of("releases_release", sql.SQL("status = 'UPLOADED'"), uploaded))
    contract = sql.SQL("""INSERT INTO releases_contract (pipeline_id, contract_version, document, created_at)
        SELECT pipeline_id, '9', '{{}}', {at} FROM releases_release WHERE release_version = '9'""")
    assert refused(forger, contract.format(at=sql.SQL("now()"))) == "contract_of_verification"
    forger.execute("UPDATE releases_release SET status = 'VERIFYING' WHERE release_version = '9'")
    assert refused(forger, contract.format(at=sql.SQL(PAST))) == "contract_starts"
    forger.execute(contract.format(at=sql.SQL("now()")))


def test_a_release_cannot_reference_bytes_of_another_tenant(forger: Connection) -> None:
    parts = {"registered": sql.SQL(REGISTERED)}
    assert refused(forger, sql.SQL(STOLEN).format(blob=sql.SQL("blob_id"), **parts)) == "artifact_bytes_of_tenant"
    forger.execute(sql.SQL(STOLEN).format(blob=sql.SQL("NULL"), **parts))


@pytest.mark.parametrize(
    ("table", "column", "statement"),
    [
        (
            "django_admin_log",
            "action_time",
            """INSERT INTO django_admin_log
            (action_time, object_repr, action_flag, change_message, user_id)
            SELECT now() - interval '1 day', '', 1, '', id FROM auth_user RETURNING action_time = now()""",
        ),
        (
            "tenancy_apitoken",
            "created",
            """INSERT INTO tenancy_apitoken
            (digest, token_key, created, expiry, name, scopes, user_id, tenant_id)
            SELECT 'x', 'x', now() - interval '1 day', now(), 'x', scopes, user_id, tenant_id FROM tenancy_apitoken
            RETURNING created = now()""",
        ),
    ],
)
def test_rows_of_libraries_get_the_time_of_the_database(
    forger: Connection, table: str, column: str, statement: LiteralString
) -> None:
    assert forger.execute(statement).fetchone() == (True,)
