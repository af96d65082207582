"""Only executions that finished before their tenant's retention term are removed, with their whole history."""

import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet

from executions import tasks
from executions.awaits import questions
from executions.lifecycle import retention
from executions.lifecycle.interventions import cancel
from executions.models import AwaitUnit, DeadLetter, Execution, ExecutionEvent, Interaction, WireForm
from executions.state_machine import dead_letters
from foundation import places
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from tenancy.models import Tenant
from tests import making
from tests.cases import Log, cases
from tests.few_places import limited
from tests.raw_sql import check_foreign_keys_now, unguarded
from tests.wakeups import announced

HISTORY = (ExecutionEvent, DeadLetter, Interaction, AwaitUnit, WireForm)


@pytest.fixture(autouse=True)
def terms(owner: Tenant) -> None:
    keep(owner, 30, 30)


def keep(owner: Tenant, days: int | None, failed: int | None) -> None:
    Tenant.objects.filter(pk=owner.pk).update(retention_days=days, failed_retention_days=failed)


def succeeded(owner: Tenant, *keys: str, days: float = 0) -> list[Execution]:
    made = [making.execution(owner, key) for key in keys]
    assert making.record(*map(making.outcome_of, making.claimed(owner))) == len(keys)
    making.aged(*made, days=days)
    return made


def cancelled_while_waiting(owner: Tenant, key: str = "waiting") -> Execution:
    """Return a cancelled execution with an await unit, an interaction, and the wire forms of its payloads."""
    made = making.execution(owner, key)
    making.record(making.suspension(making.claimed(owner)[0]))
    WireForm.objects.create(execution=made, input={})
    cancel(owner, made.pk, actor="user:ann", reason="")
    making.aged(made, days=31)
    return made


def remove() -> int:
    return retention.remove(seconds=60)


def kept() -> set[str]:
    return set(Execution.objects.values_list("execution_key", flat=True))


def test_all_rows_of_an_execution_are_removed_with_it_and_its_key_is_free(owner: Tenant) -> None:
    first = cancelled_while_waiting(owner)
    making.aged(*making.dead(owner, "dead"), days=31)
    assert all(table.objects.exists() for table in HISTORY)
    assert making.execution(owner, "waiting").pk == first.pk
    call_command("remove_executions", "--remove", stdout=(said := StringIO()))
    assert said.getvalue() == "2 executions were removed\n"
    check_foreign_keys_now()
    assert [table.objects.count() for table in HISTORY] == [0] * len(HISTORY)
    assert making.execution(owner, "waiting").pk != first.pk


@cases("listed", [dead_letters.letters, questions.questions_of])
def test_lists_leave_out_what_is_removed_meanwhile(owner: Tenant, listed: Callable[[Tenant], QuerySet[Any]]) -> None:
    making.aged(*making.dead(owner, "dead"), days=31)
    cancelled_while_waiting(owner)
    making.dead(owner, "young")
    making.execution(owner, "asking")
    making.record(making.suspension(making.claimed(owner)[0]))
    removed: list[int] = []

    def removing(execute: Callable[..., Any], *call: Any) -> Any:
        rows = execute(*call)
        if not removed:
            removed.append(0)
            removed.append(remove())
        return rows

    with connection.execute_wrapper(removing):
        left = [row.execution.execution_key for row in listed(owner)]
    assert (removed, len(left), kept()) == ([0, 2], 1, {"young", "asking"})


@cases(("days", "failed", "left"), [(30, None, {"dead"}), (30, 30, set()), (60, 30, {"old"}), (None, 30, {"old"})])
def test_failures_have_their_term(owner: Tenant, days: int | None, failed: int | None, left: Any, caplog: Log) -> None:
    keep(owner, days, failed)
    making.aged(*making.dead(owner, "dead"), days=40)
    succeeded(owner, "old", days=40)
    succeeded(owner, "young", days=29)
    other, _ = making.ready()
    keep(other, 90, 90)
    succeeded(other, "theirs", days=60)
    making.execution(owner, "live")
    assert remove() == 2 - len(left)
    assert kept() == {"young", "live", "theirs", *left}
    assert remove() == 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_removal_works_in_batches_and_stops_after_its_time_limit(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    succeeded(owner, *"abcde", days=31)
    assert Execution.objects.values("finished_at").distinct().count() == 1
    assert [retention.remove(seconds=0), remove()] == [2, 3]


def test_executions_that_a_campaign_has_yet_to_redrive_are_kept_with_its_results(owner: Tenant, settings: Any) -> None:
    dead = making.dead(owner, "a", "b")
    made = campaigns.start(owner, Filters(pipeline_id=making.PIPELINE), reason="x", rate_per_minute=60, actor="user:a")
    making.aged(*dead, days=31)
    making.aged(*making.dead(owner, "younger"), days=31)
    settings.SWEEP_LIMIT = 1
    assert remove() == 1
    campaigns.cancel(owner, made.pk, actor="user:ann")
    assert remove() == 2
    items = list(campaigns.items(made))
    assert {item.execution_id for item in items} == {execution.pk for execution in dead}
    assert [item.execution for item in items] == [None, None]
    assert campaigns.progress([made.pk])[made.pk].skipped == 2


def test_a_dry_run_counts_what_each_tenant_would_lose_and_removes_nothing(owner: Tenant) -> None:
    succeeded(owner, "old", days=31)
    other, _ = making.ready()
    keep(other, 60, None)
    succeeded(other, "theirs", days=61)
    assert {tenant: count for tenant, kind, count in retention.removed_next() if count} == {owner: 1, other: 1}
    assert kept() == {"old", "theirs"}


def test_a_removal_waits_for_a_place_and_ends_a_batch_at_its_limit_of_interactions(owner: Tenant) -> None:
    for key in "abcd":
        cancelled_while_waiting(owner, key)
    with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
        tasks.remove_old()
    assert kept() == {*"abcd"}
    with unguarded(AwaitUnit):
        AwaitUnit.objects.update(expected_items=retention.MOST_INTERACTIONS * 3 // 4)
    assert [retention.remove(seconds=0), remove()] == [2, 2]


def test_a_removal_works_a_fifth_of_the_time(owner: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(owner, "old", days=31)
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    began = time.monotonic()
    remove()
    assert 0 < paused[0] <= 4 * (time.monotonic() - began)


def test_no_backlog_makes_another_tenant_wait(owner: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SWEEP_LIMIT = 1
    later, _ = making.ready()
    keep(later, 30, 30)
    succeeded(owner, *"abcde", days=31)
    succeeded(later, "theirs", days=31)
    left: list[int] = []
    monkeypatch.setattr(time, "sleep", lambda _: left.append(Execution.objects.filter(tenant=later).count()))
    assert remove() == 6
    assert left[1] == 0


def test_a_removal_whose_time_was_up_is_followed_by_another_one() -> None:
    def followed(*arguments: int) -> list[tuple[Any, ...]]:
        with announced() as wakeups:
            tasks.remove_old(*arguments)
        return [wakeup[1] for wakeup in wakeups if wakeup[0] == tasks.REMOVE_TASK]

    assert followed() == []
    most = tasks.REMOVALS
    assert [followed(removals, 0) for removals in (1, most - 1, most)] == [[(2,)], [(most,)], []]
