"""What finished, by release and time: counted by the clock, and read together with what is not counted yet."""

from datetime import timedelta

import pytest
from django.utils import timezone

from executions.lifecycle import redrive
from executions.models import Execution, FinishedCount
from executions.statistics import finished
from executions.tasks import count_finished
from releases.models import Release
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def failed_at(owner: Tenant, minutes: float, *keys: str) -> list[Execution]:
    made = making.dead(owner, *keys)
    making.finished(timezone.now() - timedelta(minutes=minutes), *made)
    return made


def counts() -> list[tuple[int, int, int]]:
    rows = FinishedCount.objects.order_by("minute")
    return list(rows.values_list("succeeded", "failed", "cancelled"))


def test_counting_twice_changes_nothing(owner: Tenant) -> None:
    failed_at(owner, 30, "a", "b")
    failed_at(owner, 40, "c")
    count_finished()
    before = counts()
    count_finished()
    assert before == counts() == [(0, 1, 0), (0, 2, 0)]


def test_a_failure_that_is_redriven_before_it_is_counted_counts(owner: Tenant) -> None:
    [failed] = failed_at(owner, 2, "soon")
    redrive.redrive(owner, failed.pk, actor="user:ann", reason="x", allow_failed=True)
    assert finished.last_hour([owner.pk]).total(failed.release_id).failed == 1
    finished.count()
    assert counts() == [(0, 1, 0)]


def test_a_late_commit_is_counted_by_the_next_run_and_a_redriven_failure_stays_counted(owner: Tenant) -> None:
    [failed] = failed_at(owner, 2, "first")
    finished.count()
    failed_at(owner, 2, "late")
    assert sum(failed for _, failed, _ in counts()) == 1
    finished.count()
    assert sum(failed for _, failed, _ in counts()) == 2
    making.finished(timezone.now(), failed)
    finished.count()
    assert sum(failed for _, failed, _ in counts()) == 2


def test_a_series_has_only_its_tenants_pipeline_and_period(owner: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    other = making.ready()[0]
    failed_at(other, 5, "theirs")
    failed_at(owner, 5, "recent")
    failed_at(owner, 90, "older")
    for _ in range(2):  # before and after the clock has counted
        hour, day = finished.last_hour([owner.pk]), finished.last_day([owner.pk])
        [release] = hour.releases
        assert hour.total(release).failed == sum(hour.values(release, "failed")) == 1
        assert sum(day.values(release, "finished")) == day.total(release).finished
        pipeline = Release.objects.get(pk=release).pipeline_id
        assert finished.last_hour([owner.pk], pipeline).total(release).failed == 1
        assert finished.last_hour([owner.pk], pipeline + 1000).releases == {}
        finished.count()
    assert finished.last_day([owner.pk]).total(release).failed == 2
    assert set(finished.last_day([owner.pk, other.pk]).releases) > {release}
    monkeypatch.setattr(finished, "MOST_RECENT", 1)
    failed_at(owner, 1, "mine")
    [mine] = Release.objects.filter(pk=release)
    making.execution(
        owner, "newer", pipeline_id=making.ready(owner, pipeline_id="org.example.b")[1].pipeline.pipeline_id
    )
    making.record(*(making.failure(claim, retryable=False) for claim in making.claimed(owner)))
    assert finished.last_hour([owner.pk], mine.pipeline_id).total(release).failed == 2
