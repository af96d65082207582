from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from executions.errors import BackfillInvalid, ScheduleInvalid, ScheduleNameTaken, ScheduleUnknown
from executions.holds import holds
from executions.lifecycle import interventions
from executions.models import Execution, Schedule, ScheduleFire
from executions.schedules import backfills, firing, schedules, statements, upkeep
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import each_death
from tests.executions import moments
from tests.raw_sql import raised, run, unchanged, unguarded

MINUTE = timedelta(minutes=1)
ACTOR = "user:eva"


def late(schedule: Schedule, minutes: float) -> datetime:
    """Let the next time be the whole minute that was `minutes` ago, or the first one after that. Return it."""
    at = (moments.now() - minutes * MINUTE).replace(second=0, microsecond=0) + MINUTE
    Schedule.objects.filter(pk=schedule.pk).update(next_at=at)
    return at


def fired(schedule: Schedule, minutes: float) -> datetime:
    at = late(schedule, minutes)
    firing.fire()
    return at


def states(schedule: Schedule) -> list[str]:
    return list(schedule.fires.order_by("scheduled_at").values_list("state", flat=True))


def made(owner: Tenant) -> list[Execution]:
    return list(Execution.objects.filter(tenant=owner).order_by("created_at", "execution_key"))


def submit_again() -> None:
    """Let the leases of fires expire, and submit what is due."""
    run("UPDATE executions_schedulefire SET next_attempt_at = now() WHERE state = 'DUE'")
    firing.fire()


def test_a_time_submits_one_execution_with_the_input_of_its_template(owner: Tenant) -> None:
    template = {"n": 1, "at": "{{scheduledAt}}"}
    schedule = making.scheduled(owner, "minutely", "* * * * *", input=template, time_zone="Europe/Berlin")
    at = fired(schedule, 1)
    [execution], [fire] = made(owner), schedules.fires(schedule)
    text = at.isoformat().replace("+00:00", "Z")
    assert (execution.input, execution.submitted_by) == ({"n": 1, "at": text}, "schedule:minutely")
    assert execution.execution_key == f"schedule:{schedule.pk}:{text}"
    assert (fire.state, fire.scheduled_at, fire.execution_id) == ("SUBMITTED", at, execution.pk)
    assert schedules.fire_of(execution) == fire
    assert making.reread(schedule).next_at == at + MINUTE
    firing.fire()
    assert made(owner) == [execution]


@cases(
    ("overlap", "ends", "second", "statuses"),
    ("skip", False, "SKIPPED", ["QUEUED"]),
    ("skip", True, "SUBMITTED", ["CANCELLED", "QUEUED"]),
    ("queue", False, "SUBMITTED", ["QUEUED", "QUEUED"]),
    ("cancel", False, "SUBMITTED", ["CANCELLED", "QUEUED"]),
)
def test_overlap(owner: Tenant, overlap: str, ends: bool, second: str, statuses: list[str]) -> None:
    schedule = making.scheduled(owner, cron="0 0 1 1 *", overlap=overlap)
    fired(schedule, 20)
    if ends:
        interventions.cancel(owner, made(owner)[0].pk, actor=ACTOR, reason="")
    fired(schedule, 10)
    assert states(schedule) == ["SUBMITTED", second]
    assert sorted(execution.status for execution in made(owner)) == statuses


@cases(
    ("overlap", "expected"),
    ("skip", ["MISSED", "SUBMITTED", "SKIPPED", "SKIPPED"]),
    ("queue", ["MISSED", "SUBMITTED", "SUBMITTED", "SUBMITTED"]),
    ("cancel", ["MISSED", "SKIPPED", "SKIPPED", "SUBMITTED"]),
)
def test_times_that_are_too_late_are_not_made_up(owner: Tenant, overlap: str, expected: list[str]) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap=overlap, catch_up_minutes=3)
    at = fired(schedule, 90)
    fires = list(schedule.fires.order_by("scheduled_at"))
    assert states(schedule) == expected
    assert (fires[0].scheduled_at, fires[0].code) == (at, "TOO_LATE")
    assert making.reread(schedule).next_at == fires[-1].scheduled_at + MINUTE > moments.now()


def test_a_refusal_is_recorded_and_does_not_stop_the_schedule(owner: Tenant, release: Release) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap="queue")
    other = making.scheduled(owner, "other", cron="* * * * *", release_version=release.release_version)
    holds.pause(Pipeline.objects.get(tenant=owner), actor=ACTOR, reason="broken", refuses_submissions=True)
    late(other, 1)
    fired(schedule, 1)
    for row in (schedule, other):
        [fire] = row.fires.all()
        assert (fire.state, fire.code, fire.execution_id) == ("REFUSED", "PIPELINE_PAUSED", None)
    assert Schedule.objects.filter(tenant=owner, next_at__gt=moments.now()).count() == 2
    assert made(owner) == []


def test_each_time_fires_exactly_once_wherever_the_process_dies(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap="queue", catch_up_minutes=5)
    late(schedule, 3)
    deaths = sum(1 for _ in each_death(firing.fire))
    assert deaths >= 3
    submit_again()
    assert states(schedule) == ["SUBMITTED"] * 3
    executions = [execution.pk for execution in made(owner)]
    assert (len(executions), {*executions}) == (3, {*schedule.fires.values_list("execution_id", flat=True)})


def test_a_fire_that_was_submitted_by_a_dead_process_is_found_again(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *")
    at = late(schedule, 1)
    firing.advance()
    first = making.submitted(owner, firing.key_of(schedule.pk, at), {"n": 1}, actor="schedule:nightly")
    schedules.change(schedule, actor=ACTOR, input={"n": 2})
    submit_again()
    assert [fire.execution_id for fire in schedule.fires.all()] == [first.execution_id]
    assert len(made(owner)) == 1


@contextmanager
def overtaken(statement: str, *others: Callable[[], object]) -> Iterator[None]:
    """Call `others`, which is what other processes do meanwhile, before the block executes `statement`."""
    left = [others]

    def execute(execute: Any, sql: str, *arguments: Any) -> Any:
        for other in left.pop() if sql == statement and left else ():
            other()
        return execute(sql, *arguments)

    with connection.execute_wrapper(execute):
        yield
    assert not left


def test_a_late_process_cancels_no_execution_of_its_own_time_and_changes_no_result(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap="cancel")
    late(schedule, 1)
    with overtaken(statements.EARLIER, submit_again):
        firing.fire()
    assert states(schedule) == ["SUBMITTED"]
    assert [execution.status for execution in made(owner)] == ["QUEUED"]


def test_a_process_moves_no_schedule_that_moved_or_was_changed_since_it_read_it(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="0 0 1 1 *", catch_up_minutes=3)
    late(schedule, 2)
    with overtaken(statements.TAKE, firing.advance, lambda: late(schedule, 1)):
        firing.advance()
    assert making.reread(schedule).next_at == late(schedule, 1)
    at = late(schedule, 20)
    with overtaken(statements.TAKE, lambda: schedules.change(schedule, actor=ACTOR, catch_up_minutes=60)):
        firing.advance()
    assert (states(schedule), making.reread(schedule).next_at) == (["DUE"], at)


@cases(("refused", "expected"), (True, ("SKIPPED", "SCHEDULE_REMOVED")), (False, ("SUBMITTED", "")))
def test_a_fire_that_is_decided_meanwhile_changes_only_if_it_was_submitted(
    owner: Tenant, refused: bool, expected: tuple[str, str]
) -> None:
    schedule = making.scheduled(owner, cron="* * * * *")
    if refused:
        holds.pause(Pipeline.objects.get(tenant=owner), actor=ACTOR, reason="broken", refuses_submissions=True)
    late(schedule, 1)
    with overtaken(statements.DECIDE, lambda: schedules.remove(schedule, actor=ACTOR)):
        firing.fire()
    [fire] = schedule.fires.all()
    assert (fire.state, fire.code) == expected
    assert [execution.pk for execution in made(owner)] == ([] if refused else [fire.execution_id])


@cases("value", [1, 2])
def test_a_clients_execution_with_the_key_of_a_time_is_not_taken_for_the_schedules(owner: Tenant, value: int) -> None:
    schedule = making.scheduled(owner, cron="* * * * *")
    making.submitted(owner, firing.key_of(schedule.pk, late(schedule, 1)), {"n": value})
    firing.fire()
    [fire] = schedule.fires.all()
    assert (fire.state, fire.code, fire.execution_id) == ("REFUSED", "IDEMPOTENCY_KEY_REUSED", None)


def test_schedules_that_cannot_fire_stop_no_others(owner: Tenant) -> None:
    for number in range(6):
        late(making.scheduled(owner, f"{number}", "* * * * *"), 1 + number)
    Schedule.objects.filter(name__in="0123").update(time_zone="Gone/Zone")
    firing.fire(at_once=1)
    assert len(made(owner)) == 2
    lost = Schedule.objects.get(name="0")
    assert (states(lost), schedules.calendar_of(lost).upcoming(moments.now())) == ([], [])


def test_a_run_continues_with_the_schedules_that_the_time_of_the_last_one_was_too_short_for(owner: Tenant) -> None:
    first, second = (making.scheduled(owner, name, "* * * * *") for name in ("first", "second"))
    late(second, 2)
    for _ in range(2):
        late(first, 1)
        firing.fire(at_once=1, seconds=0)
    assert [states(first)[0], states(second)[0]] == ["SUBMITTED", "SUBMITTED"]
    firing.fire()


def test_a_backfill_submits_each_time_of_a_range_once_and_one_after_the_other(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="0 2 * * *", exceptions=["2026-01-02"])
    first, end = datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 5, 2, tzinfo=UTC)
    with unchanged():
        preview = backfills.backfill(schedule, first, end, actor=ACTOR, preview=True)
    assert backfills.backfill(schedule, first, end, actor=ACTOR) == preview == backfills.Backfill(3, 3)
    for count in (1, 2, 3):
        firing.fire()
        firing.fire()
        execution = Execution.objects.get(tenant=owner, finished_at=None)
        assert states(schedule) == ["SUBMITTED"] * count + ["DUE"] * (3 - count)
        interventions.cancel(owner, execution.pk, actor=ACTOR, reason="")
    assert backfills.backfill(schedule, first, end, actor=ACTOR) == backfills.Backfill(3, 0)
    assert len(made(owner)) == 3
    beginning, tomorrow = datetime.min.replace(tzinfo=UTC), moments.now() + timedelta(days=1)
    for start, stop in ((end, first), (beginning, end), (first, tomorrow), (first, first - MINUTE)):
        raised(BackfillInvalid, backfills.backfill, schedule, start, stop, actor=ACTOR)


def test_a_backfill_and_a_time_do_not_overlap(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *")
    first = moments.now() - timedelta(days=1)
    backfills.backfill(schedule, first, first + 3 * MINUTE, actor=ACTOR)
    with overtaken(statements.DECIDE, lambda: late(schedule, 1), firing.advance):
        firing.submit_backfills()
    assert states(schedule) == ["SUBMITTED", "DUE", "DUE", "SKIPPED"]
    interventions.cancel(owner, made(owner)[0].pk, actor=ACTOR, reason="")
    late(schedule, 2)
    with overtaken(statements.DECIDE, firing.submit_backfills):
        firing.fire()
    assert states(schedule) == ["SUBMITTED", "DUE", "DUE", "SUBMITTED", "SKIPPED"]


def test_only_the_last_of_many_times_is_submitted_if_it_would_cancel_the_others(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap="cancel", catch_up_minutes=200)
    fired(schedule, 150)
    firing.fire()
    assert states(schedule) == ["SKIPPED"] * 149 + ["SUBMITTED"]


def test_a_backfill_repeats_what_was_missed_and_waits_while_the_schedule_is_paused(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", overlap="queue", catch_up_minutes=1)
    at = fired(schedule, 60)
    schedules.pause(schedule, actor=ACTOR)
    assert backfills.backfill(schedule, at, at + 3 * MINUTE, actor=ACTOR).added == 3
    submit_again()
    assert states(schedule)[:3] == ["DUE"] * 3
    schedules.resume(schedule, actor=ACTOR)
    submit_again()
    assert states(schedule)[:3] == ["SUBMITTED"] * 3
    with pytest.raises(BackfillInvalid, match="1,000"):
        backfills.backfill(schedule, at - timedelta(days=1), at, actor=ACTOR)


def test_a_paused_or_removed_schedule_does_not_fire(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="* * * * *", paused=True)
    assert (schedule.next_at, schedule.paused_at is None) == (None, False)
    late(schedules.resume(schedule, actor=ACTOR), 5)
    schedules.pause(schedule, actor=ACTOR, reason="holiday")
    firing.fire()
    schedule = schedules.resume(schedule, actor=ACTOR)
    assert Schedule.objects.filter(pk=schedule.pk, next_at__gt=moments.now()).exists()
    late(schedule, 1)
    firing.advance()
    schedules.remove(schedule, actor=ACTOR)
    submit_again()
    assert (states(schedule), made(owner)) == (["SKIPPED"], [])
    raised(ScheduleUnknown, schedules.change, schedule, actor=ACTOR, name="other")


def test_what_is_not_valid_changes_nothing(owner: Tenant) -> None:
    schedule = making.scheduled(owner, "taken")
    members = {"cron": "x", "input": {"at": "{{now}}"}, "catch_up_minutes": 0}
    refusal = raised(ScheduleInvalid, schedules.change, schedule, actor=ACTOR, **members)
    assert {error["field"] for error in refusal.errors} == {"cron", "input.at", "catchUpMinutes"}
    raised(ScheduleNameTaken, making.scheduled, owner, "taken")


def test_old_fires_are_removed_after_their_executions(owner: Tenant) -> None:
    schedule = making.scheduled(owner, cron="0 0 1 1 *")
    fired(schedule, 20)
    fired(schedule, 10)
    assert states(schedule) == ["SUBMITTED", "SKIPPED"]
    with unguarded(ScheduleFire):
        run("UPDATE executions_schedulefire SET created_at = now() - interval '31 days'")
    assert upkeep.remove_old() == 0
    Tenant.objects.filter(pk=owner.pk).update(retention_days=30)
    assert upkeep.remove_old() == 1
    assert states(schedule) == ["SUBMITTED"]
