"""What CHECK constraints reject. Triggers are disabled because they would reject more."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import CharField
from django.db.models.fields import PositiveIntegerRelDbTypeMixin
from psycopg import sql

from tests.invariants.attempts import Connection, refusal
from tests.invariants.matrix import MATRIX
from tests.invariants.new_rows import BLANK, Change, changes, rejected
from tests.invariants.schema import fields, keys_by_state, other_values, update

EXECUTION_OVER = "SUCCEEDED FAILED DLQ CANCELLED"
CAMPAIGN_OVER = "COMPLETED CANCELLED"
GRADUAL_OVER = "PROMOTED WITHDRAWN REPLACED"


@contextmanager
def without_triggers(database: Connection, table: str) -> Iterator[None]:
    with database.transaction(force_rollback=True):
        database.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(table)))
        yield


# --- bounds and choices ---

BOUNDS = """
    releases_pipeline rollback_days 1 3650 pipeline_rollback_days
    releases_pipeline approvals 0 10 pipeline_approvals
    releases_pipeline approval_hours 1 720 pipeline_approval_hours
    releases_pipeline smoke_test_hours 1 8760 pipeline_smoke_test_hours
    releases_pipeline skew_grace_minutes 0 43200 pipeline_skew_grace_minutes
    releases_pipeline retry_delay_seconds 0 - pipeline_retries_sane
    releases_pipeline retry_multiplier 1 - pipeline_retries_sane
    tenancy_tenant retention_days 1 36500 tenant_retention_days
    tenancy_tenant failed_retention_days 1 36500 tenant_failed_retention_days
    tenancy_tenant quota_submissions 1 9007199254740991 tenant_quota_submissions
    tenancy_tenant quota_open_executions 1 9007199254740991 tenant_quota_open_executions
    tenancy_tenant quota_payload_bytes 1 9007199254740991 tenant_quota_payload_bytes
    tenancy_tenant quota_storage_bytes 1 9007199254740991 tenant_quota_storage_bytes
    tenancy_tenant quota_uploads 1 9007199254740991 tenant_quota_uploads
    tenancy_tenant quota_workers 1 9007199254740991 tenant_quota_workers
    tenancy_allowance granted 0 - allowance_not_negative
    tenancy_allowance settled 0 - allowance_not_negative
    tenancy_grant permits 1 - grant_has_permits
    releases_blob size 0 - blob_size_not_negative
    releases_artifactupload size 1 - upload_size_positive
    releases_artifactupload part_size 1 - upload_size_positive
    executions_campaign rate_per_minute 1 - campaign_rate_positive
    executions_worker capacity 1 - worker_capacity_positive
"""
"""Table, column, lowest and highest value, and the constraint. Columns that may be NULL are unlimited then."""


def test_numbers_are_within_their_bounds(database: Connection) -> None:
    for line in BOUNDS.strip().splitlines():
        table, column, low, high, constraint = line.split()
        change = f"UPDATE {table} SET {column} = {{}}"
        with without_triggers(database, table):
            assert refusal(database, change.format(low)) == "", line
            below = refusal(
                database, change.format(f"{low} - 0.001" if high == "-" and "retry" in column else int(low) - 1)
            )
            assert below in {constraint, f"{table}_{column}_check"}, line
            if fields(table)[column].null:
                assert refusal(database, change.format("NULL")) == "", line
            if high != "-":
                assert refusal(database, change.format(high)) == "", line
                assert refusal(database, change.format(int(high) + 1)) == constraint, line


POSITIVE = [
    (table, name)
    for table in MATRIX
    for name, field in fields(table).items()
    if isinstance(field, PositiveIntegerRelDbTypeMixin)
]


def test_a_number_that_cannot_be_negative_is_not(database: Connection) -> None:
    for table, column in POSITIVE:
        with without_triggers(database, table):
            assert refusal(database, f"UPDATE {table} SET {column} = -1"), (table, column)


FREE = {
    "executions_awaitunit.status",
    "executions_execution.result_shape",
    "executions_execution.input_shape",
    "executions_deadletter.reason",
}
"""Columns whose choices no CHECK constraint knows."""


def unknown_choices(database: Connection) -> dict[str, str]:
    """Return what rejects an unknown value in each column that has choices."""
    found = {}
    for table in MATRIX:
        for name, field in fields(table).items():
            if field.choices and isinstance(field, CharField):
                with without_triggers(database, table):
                    found[f"{table}.{name}"] = refusal(database, f"UPDATE {table} SET {name} = '~'")
    return found


def test_a_column_with_choices_takes_no_other_value(database: Connection) -> None:
    found = unknown_choices(database)
    assert {column for column, name in found.items() if not name} == FREE
    assert len(found) > 30


# --- what each state must have and must not have ---


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
        **dict.fromkeys(("lease_owner", "lease_protocol", "lease_token", "lease_expires_at"), LEASE),
        "lease_worker": Optional("execution_running_has_lease", may="RUNNING"),
        "running_since": Optional("execution_only_running_runs", may="RUNNING"),
        "finished_at": Optional("execution_terminal_has_finish", must=EXECUTION_OVER),
        "result": Optional("execution_success_has_result", must="SUCCEEDED"),
        "await_unit_id": Optional("execution_waiting_has_unit", must="WAITING_EXTERNAL"),
    },
    "executions_interaction": {
        **dict.fromkeys(("actor", "completed_at"), Optional(ANSWER, must="COMPLETED")),
        "response": Optional(ANSWER, may="COMPLETED"),
        **dict.fromkeys(("note", "channel"), Optional("interaction_note_of_answer", may="COMPLETED")),
    },
    "executions_campaignitem": {"new_execution_id": Optional("campaign_item_resubmitted", must="RESUBMITTED")},
    "executions_campaign": {"finished_at": Optional("campaign_over_has_finish", must=CAMPAIGN_OVER)},
    "releases_gradualactivation": dict.fromkeys(
        ("ended_by", "end_reason", "ended_at"), Optional("gradual_activation_end_is_complete", must=GRADUAL_OVER)
    ),
    "releases_artifactupload": {"finding": Optional("upload_finding_of_rejected", may="REJECTED")},
    "alerts_alert": {"resolved_at": Optional("alert_resolved_has_time", must="RESOLVED")},
    "alerts_alertdelivery": {"finished_at": Optional("alert_delivery_over_has_finish", must="SENT FAILED")},
}


@pytest.mark.parametrize("table", OPTIONAL)
def test_what_each_state_must_have_and_must_not_have(database: Connection, table: str) -> None:
    values, expected, found = other_values(database, table), {}, {}
    with without_triggers(database, table):
        for state, key in keys_by_state(database, table, MATRIX[table].state).items():
            for column, rule in OPTIONAL[table].items():
                must, may = rule.must.split(), f"{rule.must} {rule.may}".split()
                expected[state, column] = (
                    rule.constraint if state in must else "",
                    "" if state in may else rule.constraint,
                )
                found[state, column] = tuple(
                    refusal(database, update(table, column, value, key)).replace("no row", "")
                    for value in (sql.SQL("NULL"), values[column][-1])
                )
    assert found == expected


def test_every_state_that_is_named_is_a_state_of_its_model() -> None:
    for table, rules in OPTIONAL.items():
        field: Any = fields(table)[MATRIX[table].state]
        named = " ".join(f"{rule.must} {rule.may}" for rule in rules.values()).split()
        assert {*named} <= {value for value, _ in field.choices}


# --- several columns ---


@dataclass(frozen=True)
class Check:
    """Changes of the rows `where`: those that a CHECK rejects, and those that it accepts (see `new_rows`)."""

    table: str
    wrong: str
    right: str = ""
    where: str = "true"

    def statement(self, change: Change) -> str:
        values = ", ".join(f"{column} = {value}" for column, value in change.items())
        return f"UPDATE {self.table} SET {values} WHERE {self.where}"


CHECKS = [
    Check(
        "executions_execution",
        """
            execution_counts: attempt = -1
            current_step_index = -1
            version = -1 | event_count
            event_count = version | -1
            execution_progress_has_shape: progress = '1' & progress_shape = NULL | 'RAW'
            progress = NULL & progress_shape = 'UNI' | 'MULTI'
            execution_tags_count: tags = '{}' | array_fill('x'::varchar, ARRAY[21])
        """,
        """
            attempt = 0 | 7
            current_step_index = 0 | 7
            event_count = version + 1
            progress = NULL & progress_shape = NULL
            progress = '1' & progress_shape = 'UNI' | 'MULTI'
            tags = NULL | '{x}' | array_fill('x'::varchar, ARRAY[20])
        """,
    ),
    Check("executions_execution", "execution_status_known: status = 'READY' | ''", where="status = 'QUEUED'"),
    Check("executions_executionevent", "event_sequence_from_one: sequence = 0 | -1", where="sequence = 1"),
    Check("releases_activation", "activation_sequence_from_one: sequence = 0", where="sequence = 1"),
    Check(
        "executions_awaitunit",
        """
            await_unit_counts: answered_items = -1 | expected_items + 1
            expected_items = 0 & answered_items = 0
            step_index = -1
            await_unit_completed_is_answered: status = 'COMPLETED' & answered_items = 0
            status = 'COMPLETED' & answered_items = 1 & expected_items = 2
        """,
        """
            answered_items = 0 | 1
            step_index = 0 | 1
            expected_items = 9 & answered_items = 9
            status = 'COMPLETED' & answered_items = expected_items
            status = 'FAILED' | 'CANCELLED'
        """,
        "status = 'WAITING_EXTERNAL'",
    ),
    Check(
        "releases_gradualactivation",
        f"""
            gradual_activation_end_is_complete: cause = NULL
            status = 'RUNNING'
            gradual_activation_of_another_release: baseline_id = candidate_id
            gradual_activation_cause_of_status: cause = 'activation'
            status = 'PROMOTED' & cause = 'failures' | 'revocation' | 'activation' | 'x'
            status = 'REPLACED' & cause = 'person' | 'duration' | 'revocation'
            status = 'ENDED'
            gradual_activation_withdrawal_says_why: end_reason = {BLANK}
            gradual_activation_has_its_step: step = 2 | 7
            steps = '[]' | '{{}}'
        """,
        """
            end_reason = 'other'
            status = 'PROMOTED' & cause = 'person'
            status = 'REPLACED' & cause = 'activation'
            cause = 'person' | 'failures' | 'duration' | 'revocation'
            step = 0 | 1
        """,
        "status = 'WITHDRAWN'",
    ),
    Check(
        "tenancy_apitoken",
        "token_expires_within_a_year: expiry = created + interval '365 days 1 microsecond'",
        "expiry = created + interval '365 days' | created",
    ),
    Check("alerts_alert", "alert_resolved_has_time: state = 'RESOLVED' | 'OTHER'", where="state = 'FIRING'"),
    Check(
        "alerts_alertdelivery",
        "alert_delivery_over_has_finish: state = 'SENT' | 'FAILED' | 'OTHER'",
        "state = 'SENT' & finished_at = now()",
        "state = 'PENDING'",
    ),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.table)
def test_a_check_rejects_each_wrong_value(database: Connection, check: Check) -> None:
    expected = {check.statement(change): name for name, change in rejected(check.wrong)}
    expected |= {check.statement(change): "" for change in changes(check.right)}
    with without_triggers(database, check.table):
        assert {statement: refusal(database, statement) for statement in expected} == expected
