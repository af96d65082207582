"""Only executions that finished before their tenant's retention term are removed, with their whole history."""

import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from executions import tasks
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import retention
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.outcome import record
from executions.models import (
    AwaitUnit,
    Campaign,
    CampaignItem,
    DeadLetter,
    Execution,
    ExecutionEvent,
    Interaction,
    WireForm,
)
from foundation.scheduling import places
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.few_places import limited
from tests.raw_sql import check_foreign_keys_now, refused, run, unguarded
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
HISTORY = (ExecutionEvent, DeadLetter, Interaction, AwaitUnit, WireForm)


def keeping(days: int | None, failed: int | None = None) -> Tenant:
    owner, _ = making.ready()
    Tenant.objects.filter(pk=owner.pk).update(retention_days=days, failed_retention_days=failed)
    return owner


def succeeded(owner: Tenant, *keys: str, days: float = 0) -> list[Execution]:
    made = [making.execution(owner, key) for key in keys]
    outcomes = [making.outcome_of(claim) for claim in making.claimed(owner)]
    assert record(made[0].release.identity, OutcomeGroup(worker_id="w", outcomes=outcomes)) == len(keys)
    making.aged(*made, days=days)
    return made


def cancelled_while_waiting(owner: Tenant) -> Execution:
    """Return a cancelled execution with an await unit, an interaction, and the wire forms of its payloads."""
    made = making.execution(owner, "waiting")
    [claim] = making.claimed(owner)
    record(made.release.identity, OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)]))
    WireForm.objects.create(execution=made, input={})
    cancel(owner, made.pk, actor="user:ann", reason="")
    return made


def remove() -> int:
    return retention.remove(seconds=60)


def kept() -> set[str]:
    return set(Execution.objects.values_list("execution_key", flat=True))


def test_removal_waits_for_a_free_place() -> None:
    """Removal takes long, and short tasks must always find a free thread."""
    succeeded(keeping(30), "old", days=31)
    with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
        tasks.remove_old()
    assert kept() == {"old"}
    tasks.remove_old()
    assert kept() == set()


def test_only_executions_older_than_the_term_are_removed() -> None:
    owner = keeping(30)
    succeeded(owner, "old", "older", days=31)
    succeeded(owner, "young", days=29)
    making.execution(owner, "live")
    assert remove() == 2
    assert kept() == {"young", "live"}
    assert remove() == 0


def test_all_rows_of_an_execution_are_removed_with_it() -> None:
    owner = keeping(30, failed=30)
    making.aged(cancelled_while_waiting(owner), *making.dead(owner, "dead"), days=31)
    before = [table.objects.count() for table in HISTORY]
    assert all(before), before
    assert remove() == 2
    check_foreign_keys_now()
    assert [table.objects.count() for table in HISTORY] == [0] * len(HISTORY)


def test_without_a_term_nothing_is_removed() -> None:
    succeeded(keeping(None), "old", days=10_000)
    assert remove() == 0
    assert kept() == {"old"}


@cases(
    ("days", "failed", "left"),
    [(30, None, {"dead"}), (30, 60, {"dead"}), (30, 30, set()), (60, 30, {"old"}), (None, 30, {"old"})],
)
def test_failed_executions_have_a_separate_term(
    days: int | None, failed: int | None, left: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has no error, so the database has not rejected any removal."""
    owner = keeping(days, failed)
    making.aged(*making.dead(owner, "dead"), days=40)
    succeeded(owner, "old", days=40)
    remove()
    assert kept() == left
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_a_tenants_term_applies_to_no_other_tenant() -> None:
    owner, other = keeping(30), keeping(90)
    succeeded(owner, "mine", days=60)
    succeeded(other, "theirs", days=60)
    assert remove() == 1
    assert kept() == {"theirs"}


def test_the_idempotency_key_of_a_removed_execution_is_free() -> None:
    owner = keeping(30)
    [first] = succeeded(owner, "key", days=31)
    assert making.execution(owner, "key").pk == first.pk
    remove()
    assert making.execution(owner, "key").pk != first.pk


def test_removal_works_in_batches_and_stops_after_its_time_limit(settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    owner = keeping(30)
    succeeded(owner, *"abcde", days=31)
    assert retention.remove(seconds=0) == 2
    assert remove() == 3


def test_a_batch_is_limited_by_its_number_of_interactions() -> None:
    owner = keeping(30)
    for key in "abcd":
        made = making.execution(owner, key)
        [claim] = making.claimed(owner)
        record(made.release.identity, OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)]))
        with unguarded(AwaitUnit):
            AwaitUnit.objects.filter(execution=made).update(expected_items=15_000)
        cancel(owner, made.pk, actor="user:ann", reason="")
        making.aged(made, days=31)
    assert retention.remove(seconds=0) == 2
    assert remove() == 2


def test_executions_that_finished_at_one_moment_are_all_removed_in_small_batches(settings: Any) -> None:
    settings.SWEEP_LIMIT = 3
    owner = keeping(30)
    succeeded(owner, *"abcdefgh", days=31)
    assert Execution.objects.values("finished_at").distinct().count() == 1
    assert remove() == 8


def test_executions_that_a_campaign_has_yet_to_redrive_are_kept_and_its_results_remain() -> None:
    owner = keeping(30, failed=30)
    dead = making.dead(owner, "a", "b")
    made = campaigns.start(
        owner, Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="user:ann"
    )
    making.aged(*dead, days=31)
    assert remove() == 0
    campaigns.cancel(owner, made.pk, actor="user:ann")
    assert remove() == 2
    items = list(campaigns.items(made))
    assert {item.execution_id for item in items} == {each.pk for each in dead}
    assert [item.execution for item in items] == [None, None]
    assert campaigns.progress([made.pk])[made.pk].skipped == 2


def test_a_kept_execution_does_not_prevent_the_removal_of_younger_ones(settings: Any) -> None:
    settings.SWEEP_LIMIT = 1
    owner = keeping(30, failed=30)
    making.aged(*making.dead(owner, "spared"), days=40)
    campaigns.start(owner, Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="user:ann")
    making.aged(*making.dead(owner, "younger"), days=31)
    assert remove() == 1
    assert kept() == {"spared"}


def test_an_item_whose_execution_was_removed_is_skipped() -> None:
    owner = keeping(30, failed=30)
    making.aged(*making.dead(owner, "a"), days=31)
    made = campaigns.start(
        owner, Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="user:ann"
    )
    CampaignItem.objects.update(outcome="SKIPPED")
    remove()
    with unguarded(CampaignItem):
        CampaignItem.objects.update(outcome="PENDING")
    Campaign.objects.update(rate_since=timezone.now() - timedelta(minutes=1))
    campaigns.advance()
    assert list(made.items.values_list("outcome", "code")) == [("SKIPPED", "EXECUTION_UNKNOWN")]


def test_a_dry_run_reports_what_would_be_removed_and_removes_nothing() -> None:
    owner, other = keeping(30), keeping(None)
    succeeded(owner, "old", days=31)
    succeeded(other, "theirs", days=31)
    out = StringIO()
    call_command("remove_executions", stdout=out)
    assert f"{owner}: 1 that succeeded or were cancelled over 30 days ago" in out.getvalue()
    assert kept() == {"old", "theirs"}
    call_command("remove_executions", "--remove", stdout=out)
    assert "1 executions were removed" in out.getvalue()
    assert kept() == {"theirs"}


# --- the database ---


@cases(("term", "failed", "age"), [(None, None, 10_000), (30, 30, 29), (30, None, 29), (None, 30, 10_000)])
def test_the_database_rejects_the_removal_of_executions_within_their_term(
    term: int | None, failed: int | None, age: float
) -> None:
    owner = keeping(term, failed)
    [execution] = succeeded(owner, "key", days=age)
    sql = "DELETE FROM executions_execution WHERE id = %s"
    assert refused(sql, execution.pk) == "execution_not_deleted"


def test_the_database_rejects_the_removal_of_live_executions_of_any_age() -> None:
    owner = keeping(1, 1)
    execution = making.execution(owner)
    check_foreign_keys_now()
    assert refused("DELETE FROM executions_execution WHERE id = %s", execution.pk) == "execution_not_deleted"


@cases(
    ("table", "constraint"),
    [
        ("executionevent", "event_append_only"),
        ("deadletter", "deadletter_append_only"),
        ("interaction", "interaction_over_is_over"),
        ("awaitunit", "await_unit_over_is_over"),
        ("wireform", "wire_form_written_once"),
    ],
)
def test_no_part_of_a_history_is_removed_without_the_rest(table: str, constraint: str) -> None:
    owner = keeping(1, 1)
    making.aged(cancelled_while_waiting(owner), *making.dead(owner, "dead"), days=2)
    assert refused(f"DELETE FROM executions_{table}") == constraint


def test_an_execution_is_not_removed_without_its_history() -> None:
    [execution] = succeeded(keeping(1), "key", days=2)
    check_foreign_keys_now()
    sql = "DELETE FROM executions_execution WHERE id = '{}'; SET CONSTRAINTS ALL IMMEDIATE"
    run("SET CONSTRAINTS ALL DEFERRED")
    assert "fk_execution" in refused(sql.format(execution.pk))
    assert kept() == {"key"}


def test_the_database_rejects_backdating_an_execution() -> None:
    [execution] = succeeded(keeping(1), "key")
    sql = "UPDATE executions_execution SET finished_at = now() - interval '9 days' WHERE id = %s"
    assert refused(sql, execution.pk) == "execution_finish_is_now"
    live = making.execution(execution.tenant, "live")
    sql = """UPDATE executions_execution SET status = 'CANCELLED', version = version + 1,
        event_count = event_count + 1, finished_at = now() - interval '9 days' WHERE id = %s"""
    assert refused(sql, live.pk) == "execution_finish_is_now"


def test_a_new_tenant_has_the_terms_of_the_settings(settings: Any) -> None:
    settings.RETENTION_DAYS, settings.FAILED_RETENTION_DAYS = 30, 0
    made = making.tenant()
    assert (made.retention_days, made.failed_retention_days) == (30, None)


@cases("column", ["retention_days", "failed_retention_days"])
@cases("days", [0, 36_501])
def test_a_term_is_at_least_a_day(column: str, days: int) -> None:
    owner = keeping(None)
    assert refused(f"UPDATE tenancy_tenant SET {column} = %s WHERE id = %s", days, owner.pk) == f"tenant_{column}"


def test_a_removal_works_a_fifth_of_the_time(settings: Any) -> None:
    """The statements' share is below that of the batches. The last batch, which finds nothing, has no pause."""
    settings.SWEEP_LIMIT = 2
    succeeded(keeping(30), *map(str, range(10)), days=31)
    statements: list[float] = []

    def timed(execute: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        try:
            return execute(*arguments)
        finally:
            statements.append(time.monotonic() - began)

    began = time.monotonic()
    with connection.execute_wrapper(timed):
        assert remove() == 10
    assert sum(statements) <= 0.3 * (time.monotonic() - began)


def test_a_pause_ends_at_the_deadline(settings: Any) -> None:
    settings.SWEEP_LIMIT = 1
    succeeded(keeping(30), "old", "older", days=31)
    began = time.monotonic()
    assert retention.remove(seconds=0) == 1
    assert time.monotonic() - began < 5
    assert len(kept()) == 1
