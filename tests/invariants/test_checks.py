"""The columns that a row must and must not have in each state. Triggers are disabled because they would reject more."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.db.models.fields import PositiveIntegerRelDbTypeMixin
from psycopg import sql

from tests.invariants.attempts import Connection, refusal
from tests.invariants.guards import CAMPAIGN_OVER, EXECUTION_OVER, GRADUAL_OVER
from tests.invariants.matrix import MATRIX
from tests.invariants.new_rows import Change, blanks, digest, each
from tests.invariants.new_rows_of_executions import CONTEXT, MALFORMED_CONTEXTS
from tests.invariants.new_rows_of_releases import document_of
from tests.invariants.new_rows_of_tenants import QUOTAS
from tests.invariants.test_every_column import candidates, one_of_each_state, primary_key


@dataclass(frozen=True)
class Optional:
    """The states in which a column must or may have a value. In all other states it is null."""

    constraint: str
    must: str = ""
    may: str = ""


LEASE = Optional("execution_running_has_lease", must="RUNNING")
ANSWER = "interaction_completed_by_somebody"
OPTIONAL: Mapping[str, Mapping[str, Optional]] = {
    "executions_execution": {
        "lease_owner": LEASE,
        "lease_protocol": LEASE,
        "lease_worker": Optional("execution_running_has_lease", may="RUNNING"),
        "lease_token": LEASE,
        "lease_expires_at": LEASE,
        "running_since": Optional("execution_only_running_runs", may="RUNNING"),
        "finished_at": Optional("execution_terminal_has_finish", must=EXECUTION_OVER),
        "result": Optional("execution_success_has_result", must="SUCCEEDED"),
        "await_unit_id": Optional("execution_waiting_has_unit", must="WAITING_EXTERNAL"),
    },
    "executions_interaction": {
        "actor": Optional(ANSWER, must="COMPLETED"),
        "completed_at": Optional(ANSWER, must="COMPLETED"),
        "response": Optional(ANSWER, may="COMPLETED"),
        "note": Optional("interaction_note_of_answer", may="COMPLETED"),
        "channel": Optional("interaction_note_of_answer", may="COMPLETED"),
    },
    "executions_campaignitem": {"new_execution_id": Optional("campaign_item_resubmitted", must="RESUBMITTED")},
    "executions_campaign": {"finished_at": Optional("campaign_over_has_finish", must=CAMPAIGN_OVER)},
    "releases_gradualactivation": {
        column: Optional("gradual_activation_end_is_complete", must=GRADUAL_OVER)
        for column in ("ended_by", "end_reason", "ended_at")
    },
    "releases_artifactupload": {"finding": Optional("upload_finding_of_rejected", may="REJECTED")},
}


@dataclass(frozen=True)
class Check:
    """Changes of the rows selected by `where`: those that a CHECK rejects and those that it accepts."""

    table: str
    constraint: str
    wrong: list[Change]
    right: list[Change]
    where: str = "true"


CHECKS = [
    Check(
        "executions_execution",
        "execution_counts",
        [
            *each("attempt", "-1"),
            *each("current_step_index", "-1"),
            *each("version", "-1", "event_count"),
            *each("event_count", "version", "-1"),
        ],
        [*each("attempt", "0", "7"), *each("current_step_index", "0", "7"), *each("event_count", "version + 1")],
    ),
    Check("executions_execution", "execution_status_known", each("status", "'READY'", "''"), [], "status = 'QUEUED'"),
    Check(
        "executions_execution",
        "execution_progress_has_shape",
        [
            {"progress": "'1'", "progress_shape": "NULL"},
            {"progress": "'1'", "progress_shape": "'RAW'"},
            {"progress": "NULL", "progress_shape": "'UNI'"},
            {"progress": "NULL", "progress_shape": "'MULTI'"},
        ],
        [
            {"progress": "NULL", "progress_shape": "NULL"},
            {"progress": "'1'", "progress_shape": "'UNI'"},
            {"progress": "'1'", "progress_shape": "'MULTI'"},
        ],
    ),
    Check("executions_executionevent", "event_sequence_from_one", each("sequence", "0", "-1"), [], "sequence = 1"),
    Check(
        "executions_awaitunit",
        "await_unit_counts",
        [
            *each("answered_items", "-1", "expected_items + 1"),
            {"expected_items": "0", "answered_items": "0"},
            *each("step_index", "-1"),
        ],
        [
            *each("answered_items", "0", "1"),
            *each("step_index", "0", "1"),
            {"expected_items": "9", "answered_items": "9"},
        ],
        "status = 'WAITING_EXTERNAL'",
    ),
    Check(
        "executions_awaitunit",
        "await_unit_completed_is_answered",
        [
            {"status": "'COMPLETED'", "answered_items": "0"},
            {"status": "'COMPLETED'", "answered_items": "1", "expected_items": "2"},
        ],
        [{"status": "'COMPLETED'", "answered_items": "expected_items"}, *each("status", "'FAILED'", "'CANCELLED'")],
        "status = 'WAITING_EXTERNAL'",
    ),
    Check("executions_campaignitem", "campaign_item_names_execution", each("execution_id", "NULL"), []),
    Check("releases_activation", "activation_sequence_from_one", each("sequence", "0"), [], "sequence = 1"),
    Check(
        "releases_activation",
        "activation_kind_known",
        each("kind", "'redo'", "''"),
        [{"kind": "'rollback'", "reason": "'why'"}, {"kind": "'activation'"}],
        "gradual_id IS NULL",
    ),
    Check(
        "releases_activation",
        "activation_rollback_says_why",
        [{"kind": "'rollback'", "reason": reason} for reason in ("''", "' '", r"E'\t\n'")],
        [{"kind": "'rollback'", "reason": "'why'"}, {"kind": "'activation'", "reason": "''"}],
        "gradual_id IS NULL",
    ),
    Check(
        "releases_gradualactivation",
        "gradual_activation_end_is_complete",
        [*each("cause", "NULL"), *each("status", "'RUNNING'")],
        each("end_reason", "'other'"),
        "status = 'WITHDRAWN'",
    ),
    Check(
        "releases_gradualactivation", "gradual_activation_of_another_release", each("baseline_id", "candidate_id"), []
    ),
    Check(
        "releases_gradualactivation",
        "gradual_activation_cause_of_status",
        [
            *(
                {"status": "'PROMOTED'", "cause": f"'{cause}'"}
                for cause in ("failures", "revocation", "activation", "x")
            ),
            *({"status": "'REPLACED'", "cause": f"'{cause}'"} for cause in ("person", "duration", "revocation")),
            {"status": "'WITHDRAWN'", "cause": "'activation'"},
            {"status": "'ENDED'"},
        ],
        [
            {"status": "'PROMOTED'", "cause": "'person'"},
            {"status": "'REPLACED'", "cause": "'activation'"},
            *(
                {"status": "'WITHDRAWN'", "cause": f"'{cause}'"}
                for cause in ("person", "failures", "duration", "revocation")
            ),
        ],
        "status = 'WITHDRAWN'",
    ),
    Check(
        "releases_gradualactivation",
        "gradual_activation_withdrawal_says_why",
        blanks("end_reason"),
        each("end_reason", "'why'"),
        "status = 'WITHDRAWN'",
    ),
    Check(
        "releases_gradualactivation",
        "gradual_activation_has_its_step",
        [*each("step", "2", "7"), *each("steps", "'[]'", "'{}'")],
        each("step", "0", "1"),
    ),
    Check(
        "executions_execution",
        "execution_tags_count",
        each("tags", "'{}'", "array_fill('x'::varchar, ARRAY[21])"),
        each("tags", "NULL", "'{x}'", "array_fill('x'::varchar, ARRAY[20])"),
    ),
    Check(
        "executions_execution",
        "execution_traceparent_form",
        each("traceparent", *MALFORMED_CONTEXTS),
        each("traceparent", "NULL", CONTEXT),
    ),
    Check(
        "executions_awaitunit",
        "await_unit_traceparent_form",
        each("traceparent", *MALFORMED_CONTEXTS),
        each("traceparent", "NULL", CONTEXT),
    ),
    Check(
        "releases_pipeline",
        "pipeline_rollback_days",
        each("rollback_days", "0", "3651"),
        each("rollback_days", "1", "3650"),
    ),
    Check("releases_pipeline", "pipeline_approvals", each("approvals", "11"), each("approvals", "0", "10")),
    Check(
        "releases_pipeline",
        "pipeline_approval_hours",
        each("approval_hours", "0", "721"),
        each("approval_hours", "1", "720"),
    ),
    Check(
        "releases_pipeline",
        "pipeline_smoke_test_hours",
        each("smoke_test_hours", "0", "8761"),
        each("smoke_test_hours", "1", "8760", "NULL"),
    ),
    Check(
        "releases_pipeline",
        "pipeline_skew_grace_minutes",
        each("skew_grace_minutes", "43201"),
        each("skew_grace_minutes", "0", "43200"),
    ),
    Check(
        "executions_smoketest",
        "smoke_test_expects_one_result",
        each("expected_result", "'[]'", "'[1, 2]'", "'null'", "'{}'", "'[1, null]'"),
        each("expected_result", "'[1]'", "'[null]'", "'[[]]'", "NULL"),
    ),
    Check("releases_blob", "blob_state_known", each("state", "'FINE'", "''"), each("state", "'SOUND'", "'DAMAGED'")),
    Check("releases_blobevent", "blob_event_kind_known", each("kind", "'FINE'", "''"), each("kind", "'HEALED'")),
    Check(
        "releases_bloblease",
        "blob_lease_resource_known",
        each("resource", "'x'"),
        each("resource", "'scrub'", "'removals'"),
    ),
    Check("releases_blob", "blob_size_not_negative", each("size", "-1"), each("size", "0")),
    Check("releases_release", "release_status_known", each("status", "'READY'", "''"), []),
    Check(
        "releases_release",
        "release_descriptor_digest_of_document",
        [
            *each("descriptor_digest", digest("other"), "upper(descriptor_digest)", "''"),
            *each("descriptor_document", "descriptor_document || ' '::bytea", "''"),
        ],
        [document_of(1)],
    ),
    Check("releases_release", "release_descriptor_not_too_large", [document_of(1048577)], [document_of(1048576)]),
    Check(
        "releases_deployment",
        "deployment_names_its_place",
        [change for column in ("idempotency_key", "application", "environment") for change in each(column, "''")],
        each("environment", "'staging'"),
    ),
    Check(
        "releases_artifactupload",
        "upload_size_positive",
        [*each("size", "0", "-1"), *each("part_size", "0", "-1")],
        [*each("size", "1"), *each("part_size", "1")],
    ),
    Check("executions_campaign", "campaign_rate_positive", each("rate_per_minute", "0"), each("rate_per_minute", "1")),
    Check("executions_worker", "worker_capacity_positive", each("capacity", "0"), each("capacity", "1")),
    Check(
        "executions_worker",
        "worker_code_known",
        each("code", "'folder'", "'SOURCE'"),
        each("code", "''", "'artifact'", "'source'", "'image'"),
    ),
    Check(
        "releases_pipeline",
        "pipeline_unverified_workers_known",
        each("unverified_workers", "'perhaps'", "''"),
        each("unverified_workers", "'refuse'", "'allow'"),
    ),
    Check(
        "releases_pipeline",
        "pipeline_missing_artifacts_known",
        each("missing_artifacts", "'perhaps'", "''"),
        each("missing_artifacts", "'reject'", "'identity-only'"),
    ),
    Check(
        "tenancy_apitoken",
        "token_expires_within_a_year",
        each("expiry", "created + interval '365 days 1 microsecond'"),
        each("expiry", "created + interval '365 days'", "created"),
    ),
    Check("tenancy_membership", "membership_role_known", each("role", "'owner'", "''"), each("role", "'viewer'")),
    Check("tenancy_savedview", "saved_view_page", each("page", "'x'", "''"), each("page", "'executions'")),
    Check("tenancy_savedview", "saved_view_form", [*each("name", "''"), *each("query", "'?x'")], each("query", "''")),
    *(
        Check("tenancy_tenant", f"tenant_{column}", each(column, "0", "36501"), each(column, "1", "36500", "NULL"))
        for column in ("retention_days", "failed_retention_days")
    ),
    *(
        Check("tenancy_tenant", name, each(column, "0", "9007199254740992"), each(column, "1", "NULL"))
        for column, name in QUOTAS.items()
    ),
    Check("tenancy_allowance", "allowance_not_negative", each("granted", "-1"), each("granted", "0")),
    Check("tenancy_allowance", "allowance_not_negative", each("settled", "-1"), each("settled", "0")),
    Check("tenancy_grant", "grant_has_permits", each("permits", "0"), each("permits", "1")),
    Check(
        "releases_pipeline",
        "pipeline_retries_sane",
        [*each("retry_delay_seconds", "-0.1"), *each("retry_multiplier", "0.9")],
        [*each("retry_delay_seconds", "0", "NULL"), *each("retry_multiplier", "1", "NULL")],
    ),
]


@contextmanager
def without_triggers(database: Connection, table: str) -> Iterator[None]:
    with database.transaction(force_rollback=True):
        database.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(table)))
        yield


def changed(check: Check, change: Change) -> str:
    values = ", ".join(f"{column} = {value}" for column, value in change.items())
    return f"UPDATE {check.table} SET {values} WHERE {check.where}"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.constraint)
def test_a_check_rejects_each_wrong_value(database: Connection, check: Check) -> None:
    with without_triggers(database, check.table):
        found = {str(change): refusal(database, changed(check, change)) for change in (*check.wrong, *check.right)}
    wrong = {str(change): check.constraint for change in check.wrong}
    assert found == wrong | {str(change): "" for change in check.right}


def state_change(database: Connection, table: str, column: str, value: sql.Composable, state: str) -> str:
    """Return what rejects `value` in a row in `state`. If no row is in `state`, force one into it."""
    keys = one_of_each_state(database, table)
    key = keys.get(state, next(iter(keys.values())))
    text = sql.SQL("UPDATE {} SET {} = {} WHERE {} = %s")
    names = (sql.Identifier(table), sql.Identifier(column), value, primary_key(table))
    return refusal(database, text.format(*names), key)


COLUMNS = [(table, column) for table, columns in OPTIONAL.items() for column in columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_what_each_state_must_have_and_must_not_have(database: Connection, table: str, column: str) -> None:
    rule = OPTIONAL[table][column]
    *_, value = candidates(database, table)[column]
    expected, found = {}, {}
    with without_triggers(database, table):
        for state in one_of_each_state(database, table):
            has = state in {*rule.must.split(), *rule.may.split()}
            expected[state] = (rule.constraint if state in rule.must.split() else "", "" if has else rule.constraint)
            found[state] = (
                state_change(database, table, column, sql.SQL("NULL"), state),
                state_change(database, table, column, value, state),
            )
    assert found == expected


def test_every_state_of_a_model_is_known_to_these_tables(database: Connection) -> None:
    for table in OPTIONAL:
        [model] = [model for model in apps.get_models() if model._meta.db_table == table]
        field: Any = model._meta.get_field(MATRIX[table].state)
        named = " ".join(f"{rule.must} {rule.may}" for rule in OPTIONAL[table].values()).split()
        assert set(named) <= {value for value, _ in field.choices}


POSITIVE = [
    (model._meta.db_table, field.column)
    for model in apps.get_models()
    if model._meta.db_table in MATRIX
    for field in model._meta.concrete_fields
    if isinstance(field, PositiveIntegerRelDbTypeMixin)
]


@pytest.mark.parametrize(("table", "column"), POSITIVE)
def test_a_number_that_cannot_be_negative_is_not(database: Connection, table: str, column: str) -> None:
    change = sql.SQL("UPDATE {} SET {} = -1").format(sql.Identifier(table), sql.Identifier(column))
    with without_triggers(database, table):
        assert refusal(database, change)
