from datetime import timedelta

from django.utils import timezone

from executions.models import Execution, Schedule
from executions.schedules import firing, schedules
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race, results_of

COUNT = 5


def test_two_clocks_fire_each_time_once(ready: tuple[Tenant, Release]) -> None:
    for overlap, executions in (("queue", COUNT), ("skip", 1), ("cancel", 1)):
        made = making.scheduled(ready[0], overlap, "* * * * *", overlap=overlap)
        for _ in range(3):
            late = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=COUNT - 1)
            Schedule.objects.filter(pk=made.pk).update(next_at=late)
            results_of(race(*[firing.fire] * 4))
            assert made.fires.count() == COUNT
            assert Execution.objects.filter(submitted_by=made.actor).count() == executions
        assert made.fires.filter(state="SUBMITTED").count() == executions


def test_a_removal_races_with_a_time(ready: tuple[Tenant, Release]) -> None:
    for number in range(4):
        made = making.scheduled(ready[0], f"{number}", "* * * * *")
        Schedule.objects.filter(pk=made.pk).update(next_at=timezone.now())

        def remove(schedule: Schedule = made) -> int:
            schedules.remove(schedule, actor="user:eva")
            return 0

        results_of(race(remove, firing.fire))
        assert not made.fires.filter(state="DUE").exists()
        submitted = made.fires.exclude(execution=None).values_list("execution_id", flat=True)
        assert set(submitted) == set(Execution.objects.filter(submitted_by=made.actor).values_list("pk", flat=True))
