import pytest

from tests.invariants.attempts import Connection, refusal, results, unguarded
from tests.invariants.new_rows import tenant
from tests.invariants.new_rows_of_executions import execution

HISTORY = {
    "executions_executionevent": "event_append_only",
    "executions_deadletter": "deadletter_append_only",
    "executions_interactionevent": "interaction_event_append_only",
    "executions_interaction": "interaction_over_is_over",
    "executions_awaitunit": "await_unit_over_is_over",
    "executions_wireform": "wire_form_written_once",
    "executions_resubmission": "resubmission_append_only",
    "executions_smoketest": "smoke_test_append_only",
    "executions_searchvalue": "search_value_append_only",
    "executions_stepreport": "step_report_kept",
    "executions_itemgroup": "item_group_append_only",
    "executions_faileditems": "failed_items_append_only",
    "executions_hold": "hold_ends_once",
}
"""The tables with the history of an execution, each with the trigger that keeps it."""
MESSAGES = ("alerts_alert", "alerts_alertevent", "alerts_alertdelivery", "executions_notification")
WORKERS = ("executions_worker", "executions_workerevent")
KEPT = "execution_not_deleted"


def finished(key: str, ago: str) -> str:
    return f"UPDATE executions_execution SET finished_at = now() - interval '{ago}' WHERE id = {execution(key)}"


def terms(**days: int | None) -> str:
    values = ", ".join(f"{name} = {days.get(name) or 'NULL'}" for name in ("retention_days", "failed_retention_days"))
    return f"""UPDATE tenancy_tenant SET retention_days = 1, failed_retention_days = 1;
        UPDATE tenancy_tenant SET {values} WHERE id = {tenant("owner")}"""


BOTH = terms(retention_days=1, failed_retention_days=1)


def removed(key: str, *tables: str) -> str:
    """Return statements that delete the execution and then its rows in `tables`."""
    history = (f"DELETE FROM {table} WHERE execution_id = (SELECT id FROM chosen)" for table in tables)
    first = f"CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT {execution(key)} AS id"
    execution_first = "DELETE FROM executions_execution WHERE id = (SELECT id FROM chosen)"
    return "; ".join((first, execution_first, *history, "SELECT FROM chosen"))


@pytest.mark.parametrize("key", ["succeeded", "cancelled", "failed", "dead"])
def test_a_finished_execution_may_be_removed_after_its_retention_period(database: Connection, key: str) -> None:
    term, other = ("retention_days", "failed_retention_days")[:: -1 if key in {"failed", "dead"} else 1]
    expected = {
        (30, "30 days", 60): "",
        (30, "30 days", None): "",
        (30, "29 days 23 hours", 1): KEPT,
        (30, "0 days", 1): KEPT,
        (None, "9999 days", 1): KEPT,
    }
    statement = removed(key, *HISTORY)
    refusals = {
        (days, ago, other_days): results(
            database,
            [statement],
            setup=f"{terms(**{term: days, other: other_days})}; {finished(key, ago)}",
            ordinary=False,
        )[statement]
        for days, ago, other_days in expected
    }
    assert refusals == expected


def test_an_unfinished_execution_is_never_removed(database: Connection) -> None:
    past = (
        "UPDATE executions_execution SET created_at = '2000-01-01', updated_at = '2000-01-01' WHERE finished_at IS NULL"
    )
    statements = [removed(key, *HISTORY) for key in ("queued", "running", "retried", "asking")]
    verdicts = results(database, statements, setup=f"{BOTH}; {past}", ordinary=False)
    assert verdicts == dict.fromkeys(statements, KEPT)


def test_a_removal_does_not_delete_the_history_of_another_execution(database: Connection) -> None:
    others = "; DELETE FROM {} WHERE execution_id <> (SELECT id FROM chosen)"
    expected = {removed("succeeded", *HISTORY) + others.format(table): name for table, name in HISTORY.items()}
    setup = f"{BOTH}; {finished('succeeded', '2 days')}"
    assert results(database, expected, setup=setup, ordinary=False) == expected


def test_the_removal_of_an_execution_leaves_nothing_of_its_history(database: Connection) -> None:
    for key, table, change in (
        ("cancelled", "executions_executionevent", "actor = 'x'"),
        ("dead", "executions_deadletter", "error_code = 'x'"),
        ("cancelled", "executions_interaction", "last_dispatch_error = 'x'"),
        ("cancelled", "executions_awaitunit", "worker_name = 'x'"),
        ("cancelled", "executions_searchvalue", "text = 'x'"),
        ("succeeded", "executions_stepreport", "transition_key = 'x'"),
    ):
        left = f"{removed(key)}; UPDATE {table} SET {change} WHERE execution_id = (SELECT id FROM chosen)"
        present = f"UPDATE {table} SET {change} WHERE execution_id = {execution(key)}"
        setup = f"{BOTH}; {finished(key, '2 days')}"
        verdicts = results(database, [left, present], setup=setup, ordinary=False)
        assert verdicts == {left: "no row", present: HISTORY[table]}


RESOLVED = f"(SELECT id FROM alerts_alert WHERE state = 'RESOLVED' AND tenant_id = {tenant('owner')})"
DELIVERIES, EVENTS = (
    f"DELETE FROM {table} WHERE alert_id IN (SELECT id FROM chosen)"
    for table in ("alerts_alertdelivery", "alerts_alertevent")
)
REMOVAL = f"""CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT id FROM alerts_alert WHERE id = {RESOLVED};
    DELETE FROM alerts_alert WHERE id IN (SELECT id FROM chosen)"""


def test_an_alert_is_kept_for_a_day_after_its_end_and_removed_with_its_parts(database: Connection) -> None:
    change = f"UPDATE alerts_alert SET resolved_at = now() - interval '{{}}' WHERE id = {RESOLVED}"
    removal = f"{REMOVAL}; {DELIVERIES}; {EVENTS}"
    assert results(database, [removal], setup=change.format("23 hours 59 minutes"), ordinary=False) == {
        removal: "alert_kept"
    }
    unguarded(database, change.format("24 hours 1 minute"))
    assert refusal(database, removal) == ""
    for part in (DELIVERIES, EVENTS):
        assert "_fk_" in refusal(database, f"{REMOVAL}; {part}")


def test_a_message_about_an_execution_is_kept_for_a_day_after_its_end(database: Connection) -> None:
    removal = "DELETE FROM executions_notification WHERE state = 'SENT'"
    for ago, expected in (("23 hours 59 minutes", "notification_kept"), ("24 hours 1 minute", "")):
        setup = f"UPDATE executions_notification SET finished_at = now() - interval '{ago}' WHERE state = 'SENT'"
        assert results(database, [removal], setup=setup, ordinary=False) == {removal: expected}
    assert refusal(database, "DELETE FROM executions_notification WHERE state = 'PENDING'") == "notification_kept"


def test_a_worker_is_kept_for_a_day_after_it_stopped_and_removed_with_its_events(database: Connection) -> None:
    worker = "(SELECT min(worker_id) FROM executions_workerevent)"
    removal = f"""CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT {worker} AS id;
        DELETE FROM executions_worker WHERE id = (SELECT id FROM chosen)"""
    whole = f"{removal}; DELETE FROM executions_workerevent WHERE worker_id = (SELECT id FROM chosen)"
    for stopped, drained, expected in (
        ("NULL", "NULL", "worker_kept"),
        ("now() - interval '23 hours'", "NULL", "worker_kept"),
        ("now() - interval '25 hours'", "now()", "worker_kept"),
        ("now() - interval '25 hours'", "NULL", ""),
    ):
        setup = f"""UPDATE executions_worker SET stopped_at = {stopped}, drained_by_operator_at = {drained}
            WHERE id = {worker}"""
        assert results(database, [whole], setup=setup, ordinary=False) == {whole: expected}
    unguarded(database, setup)
    assert "_fk_" in refusal(database, removal)


def test_what_executions_are_pinned_to_is_never_removed(database: Connection) -> None:
    """Executions have no foreign keys to their release and tenant."""
    release = f"SELECT release_id FROM executions_execution WHERE id = {execution('queued')}"
    assert refusal(database, f"DELETE FROM releases_release WHERE id = ({release})") == "release_not_deleted"
    assert refusal(database, f"DELETE FROM tenancy_tenant WHERE id = {tenant('owner')}")
    key = database.execute("""SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'a'
        AND conrelid = 'releases_pipeline'::regclass AND confrelid = 'tenancy_tenant'::regclass""").fetchall()
    assert key == [(True,)], "a tenant that has a pipeline stays"
