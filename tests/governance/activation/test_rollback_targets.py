from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions import statistics
from executions.models import FinishedCount
from governance.activation.activation import activate, roll_back
from governance.reports.rollback_targets import Rollback, rollback
from governance.retirement.retirement import revoke
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making, requesting
from tests.cases import cases
from tests.governance.activation.test_activation import age
from tests.governance.finished import counted

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "it fails"}


def releases(owner: Tenant) -> dict[str, Release]:
    """1.1 was good for days. 1.3 and 1.5 each failed at 40 %; 1.5 is active. 1.7 was never active."""
    made = {version: making.registered(owner, version) for version in ("1.1", "1.3", "1.5", "1.7")}
    for version, days in (("1.1", 9.0), ("1.3", 1.0), ("1.5", 0.0)):
        activate(made[version], actor="user:ann")
        age(made[version], days)
    counted(made["1.1"], 4_000, 8, days=3)
    counted(made["1.3"], 60, 40, hours=5)
    counted(made["1.5"], 30, 20, minutes=5)
    making.worker(made["1.1"])
    return made


def targets(owner: Tenant, *, recent_only: bool = True, **more: Any) -> Rollback:
    return rollback(requesting.read(owner), recent_only=recent_only, **more)


def test_the_good_release_is_proposed_past_a_bad_one(owner: Tenant) -> None:
    made = releases(owner)
    choice = targets(owner)
    assert (choice.active, choice.totals and choice.totals.failure_rate, choice.more) == (made["1.5"], 40.0, False)
    bad, good = choice.targets
    assert (good.release, good.warnings, good.refusals, good.hosts.count) == (made["1.1"], [], [], 1)
    assert (good.totals.failed, good.period.lasted[:3], bad.period.lasted[:2]) == (8, "9 d", "1 ")
    assert choice.proposed == good
    assert [warning.split(":")[0] for warning in bad.warnings] == ["It failed often", "No healthy worker hosts it"]
    assert (bad.is_allowed, bad.is_breaking, bad.totals.ended) == (True, False, 100)
    roll_back(requesting.read(owner), release=made["1.1"], recent_only=True, **WHY)
    newest, other = targets(owner).targets
    assert (newest.release, newest.warnings[1]) == (made["1.5"], "It was rolled back by user:ann: “it fails”")
    assert (other.release, targets(owner).proposed) == (made["1.3"], None)


@cases(
    ("changes", "days", "code"),
    [
        ({"rollback_days": 2}, 3, "ROLLBACK_TOO_FAR"),
        ({"worker_gate": "require"}, 0, "WORKER_REQUIRED"),
        ({"signature_policy": "require"}, 0, "SIGNATURE_REQUIRED"),
        ({"rollback_days": 1, "smoke_test_hours": 1}, 2, "SMOKE_TEST_REQUIRED"),
        ({}, 0, "RELEASE_NOT_REGISTERED"),
    ],
)
def test_a_target_says_what_a_rollback_would_meet(owner: Tenant, changes: Any, days: float, code: str) -> None:
    made = releases(owner)
    age(made["1.3"], days)
    Pipeline.objects.update(**changes)
    if code == "RELEASE_NOT_REGISTERED":
        revoke(made["1.3"], **WHY)
    with CaptureQueriesContext(connection) as all_read:
        target = targets(owner, recent_only=code == "ROLLBACK_TOO_FAR").targets[0]
    assert (target.release, [refusal.code for refusal in target.refusals]) == (made["1.3"], [code])
    assert len(all_read) <= 14
    if code == "ROLLBACK_TOO_FAR":
        assert targets(owner, recent_only=False).targets[0].is_allowed


def test_a_release_that_is_not_listed_can_be_named(owner: Tenant) -> None:
    shown = partial(targets, owner, most_switches=2)
    making.registered(owner, "0.9")
    assert shown(named="0.9").targets == []
    releases(owner)
    assert [target.release.release_version for target in shown().targets] == ["1.3"]
    *_, named = shown(named="1.1").targets
    assert (named.release.release_version, named.period.lasted[:3], named.refusals) == ("1.1", "9 d", [])
    assert [len(shown(named=name).targets) for name in ("1.5", "1.7", "9", "\0")] == [1, 1, 1, 1]


def test_old_counts_of_minutes_become_counts_of_hours(owner: Tenant) -> None:
    release = making.registered(owner)
    for ago in ({"hours": 50.0}, {"hours": 50.0, "minutes": 1}, {"hours": 48.0}, {"hours": 48.0, "minutes": 1}):
        counted(release, 2, 1, **ago)
    counted(release, 9, 9, days=32)
    for _ in range(2):
        statistics.count()
        hours = FinishedCount.objects.filter(minute__lt=timezone.now() - timedelta(hours=49))
        assert {hour.minute.minute for hour in hours} == {0}
        assert hours.aggregate(Sum("succeeded"))["succeeded__sum"] == 4
        assert FinishedCount.objects.count() == 2 + hours.count()
    assert statistics.finished([release.pk])[release.pk].failed == 4
