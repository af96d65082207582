"""The database allows the removal of an execution and its history after the tenant's retention period."""

import pytest

from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.new_rows import tenant
from tests.invariants.new_rows_of_executions import execution

OWNER = tenant("owner")
OVER = {"succeeded": "retention_days", "cancelled": "retention_days"} | dict.fromkeys(
    ("failed", "dead"), "failed_retention_days"
)
LIVE = ("queued", "running", "retried", "asking")
HISTORY = (
    "executions_executionevent",
    "executions_deadletter",
    "executions_interactionevent",
    "executions_interaction",
    "executions_awaitunit",
    "executions_wireform",
    "executions_resubmission",
    "executions_smoketest",
    "executions_hold",
)
REFUSED = "execution_not_deleted"


def finished(database: Connection, key: str, ago: str) -> None:
    change = f"UPDATE executions_execution SET finished_at = now() - interval '{ago}' WHERE id = {execution(key)}"
    unguarded(database, "executions_execution", change)


def terms(database: Connection, **days: int | None) -> None:
    """Set the retention periods of the tenant. Other tenants keep executions for one day."""
    database.execute("UPDATE tenancy_tenant SET retention_days = 1, failed_retention_days = 1")
    values = ", ".join(f"{name} = {days.get(name) or 'NULL'}" for name in ("retention_days", "failed_retention_days"))
    database.execute(f"UPDATE tenancy_tenant SET {values} WHERE id = {OWNER}")


def removed(key: str, tables: tuple[str, ...] = HISTORY) -> str:
    """Return statements that delete the execution and then its rows in `tables`."""
    chosen = execution(key)
    history = (f"DELETE FROM {table} WHERE execution_id = (SELECT id FROM chosen)" for table in tables)
    first = f"CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT {chosen} AS id"
    return "; ".join((first, f"DELETE FROM executions_execution WHERE id = {chosen}", *history))


@pytest.mark.parametrize("key", OVER)
def test_a_finished_execution_may_be_removed_after_its_retention_period(database: Connection, key: str) -> None:
    term = OVER[key]
    [other] = {*OVER.values()} - {term}
    expected = {
        (30, "30 days", 60): "",
        (30, "30 days", None): "",
        (30, "29 days 23 hours", 1): REFUSED,
        (30, "0 days", 1): REFUSED,
        (None, "9999 days", 1): REFUSED,
    }
    found = {}
    for days, ago, other_days in expected:
        with database.transaction(force_rollback=True):
            terms(database, **{term: days, other: other_days})
            finished(database, key, ago)
            found[days, ago, other_days] = refusal(database, removed(key))
    assert found == expected


@pytest.mark.parametrize("key", LIVE)
def test_an_unfinished_execution_is_never_removed(database: Connection, key: str) -> None:
    terms(database, retention_days=1, failed_retention_days=1)
    change = "UPDATE executions_execution SET created_at = '2000-01-01', updated_at = '2000-01-01' WHERE id = "
    unguarded(database, "executions_execution", change + execution(key))
    assert refusal(database, removed(key)) == REFUSED


@pytest.mark.parametrize("kept", HISTORY)
def test_no_part_of_the_history_of_a_removed_execution_remains(database: Connection, kept: str) -> None:
    key = {
        "executions_deadletter": "dead",
        "executions_wireform": "queued",
        "executions_resubmission": "resubmitted",
        "executions_smoketest": "smoke:1.0:k",
    }.get(kept, "cancelled")
    change = (
        "UPDATE executions_execution SET status = 'SUCCEEDED', result = '1', finished_at = '2000-01-01' WHERE id = "
    )
    unguarded(database, "executions_execution", change + execution(key))
    terms(database, retention_days=1, failed_retention_days=1)
    assert refusal(database, removed(key)) == ""
    rest = tuple(table for table in HISTORY if table != kept)
    assert "_fk_" in refusal(database, removed(key, rest)) or kept == "executions_interaction"


@pytest.mark.parametrize("table", HISTORY)
def test_a_removal_does_not_delete_the_history_of_another_execution(database: Connection, table: str) -> None:
    terms(database, retention_days=1, failed_retention_days=1)
    finished(database, "succeeded", "2 days")
    expected = {
        "executions_executionevent": "event_append_only",
        "executions_deadletter": "deadletter_append_only",
        "executions_interactionevent": "interaction_event_append_only",
        "executions_interaction": "interaction_over_is_over",
        "executions_awaitunit": "await_unit_over_is_over",
        "executions_wireform": "wire_form_written_once",
        "executions_resubmission": "resubmission_append_only",
        "executions_smoketest": "smoke_test_append_only",
        "executions_hold": "hold_ends_once",
    }
    others = f"DELETE FROM {table} WHERE execution_id <> (SELECT id FROM chosen)"
    assert refusal(database, f"{removed('succeeded')}; {others}") == expected[table]


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("executions_executionevent", "actor = 'x'", "event_append_only"),
        ("executions_deadletter", "error_code = 'x'", "deadletter_append_only"),
        ("executions_interaction", "last_dispatch_error = 'x'", "interaction_over_is_over"),
        ("executions_awaitunit", "worker_name = 'x'", "await_unit_over_is_over"),
    ],
)
def test_the_history_of_a_removed_execution_cannot_be_changed_before_its_removal(
    database: Connection, table: str, change: str, expected: str
) -> None:
    key = "dead" if table == "executions_deadletter" else "cancelled"
    terms(database, retention_days=1, failed_retention_days=1)
    finished(database, key, "2 days")
    update = f"UPDATE {table} SET {change} WHERE execution_id = (SELECT id FROM chosen)"
    assert refusal(database, f"{removed(key, ())}; {update}") == expected
