"""Resubmissions race each other, revocations, activations, re-drives, and campaigns. Each has a separate connection."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, CampaignItem, Execution, Resubmission, StartFrom
from executions.submission.resubmission import resubmit
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import thread
from tests.concurrency.waiting import until_blocked
from tests.executions.submission import continuing
from tests.repetition import rounds

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(5)
EVERY = Filters(pipeline_id=making.PIPELINE)


def scene() -> tuple[Tenant, Execution, Release]:
    """Return a tenant, a failed execution on 1.0, and the registered release 1.1, which is not active."""
    owner, _ = making.ready()
    [execution] = making.dead(owner, "key")
    return owner, execution, registered(owner)


def registered(owner: Tenant, version: str = "1.1") -> Release:
    release = Release.objects.select_related("pipeline__tenant").get(pk=making.registered(owner, version).pk)
    making.worker(release, f"worker-{version}")
    return release


def resubmitting(owner: Tenant, execution: Execution, **members: Any) -> Callable[[], Any]:
    return partial(resubmit, owner, execution.pk, actor="user:ann", reason="", **members)


def revoking(release: Release) -> Callable[[], Any]:
    return partial(revoke, release, actor="user:bob", reason="leaked")


def consistent() -> None:
    """Assert that each link has its execution and its events, and that each new execution has one link."""
    for link in Resubmission.objects.select_related("execution", "new_execution"):
        assert making.history(link.new_execution)[0] == ("SUBMITTED", "QUEUED")
        named = link.execution.events.filter(kind="RESUBMITTED", data__executionId=str(link.pk))
        assert named.count() == 1
        making.history(link.execution)
    made = Execution.objects.filter(execution_key__startswith="resubmit:")
    assert set(made.values_list("pk", flat=True)) == set(Resubmission.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("_", ROUNDS)
@pytest.mark.parametrize("members", [{"operation_key": "k"}, {"expected_version": 2}], ids=str)
def test_equal_resubmissions_create_one_execution(members: dict[str, Any], _: int) -> None:
    owner, execution, _release = scene()
    made = results_of(race(*[resubmitting(owner, execution, **members) for _ in range(6)]))
    assert len({each.pk for each in made}) == 1
    assert Resubmission.objects.count() == 1
    consistent()


@pytest.mark.parametrize("named", [True, False], ids=["named", "active"])
def test_a_resubmission_that_waits_for_a_revocation_is_refused(named: bool) -> None:
    owner, execution, release = scene()
    if not named:
        activate(release, actor="user:ann")
    with thread() as other:
        waiting = resubmitting(owner, execution, release_version="1.1" if named else None)
        with transaction.atomic():
            revoke(release, actor="user:bob", reason="leaked")
            call = other.submit(waiting)
            until_blocked(connection)
        error = call.exception(30)
    assert type(error).__name__ == ("ReleaseNotAdmitted" if named else "ActiveReleaseRevoked")
    assert not Resubmission.objects.exists()


def test_a_revocation_waits_for_a_resubmission() -> None:
    owner, execution, release = scene()
    with thread() as other:
        waiting = revoking(release)
        with transaction.atomic():
            made = resubmit(owner, execution.pk, actor="user:ann", reason="", release_version="1.1")
            call = other.submit(waiting)
            until_blocked(connection)
            assert Release.objects.get(pk=release.pk).status == "REGISTERED"
        call.result(30)
    assert Release.objects.get(pk=release.pk).status == "REVOKED"
    assert Execution.objects.get(pk=made.pk).release_id == release.pk


def test_a_resubmission_that_waits_for_an_activation_gets_the_new_release() -> None:
    owner, execution, release = scene()
    with thread() as other:
        waiting = resubmitting(owner, execution)
        with transaction.atomic():
            activate(release, actor="user:bob")
            call = other.submit(waiting)
            until_blocked(connection)
        made = call.result(30)
    assert made.release_version == "1.1"
    consistent()


def test_a_resubmission_that_waits_for_a_later_failure_continues_from_its_checkpoint() -> None:
    owner = continuing.ready()
    old = continuing.failed(owner)
    with thread() as other:
        waiting = resubmitting(owner, old, start_from=StartFrom.CHECKPOINT)
        with transaction.atomic():
            redrive(owner, old.pk, actor="user:bob", reason="")
            call = other.submit(waiting)
            until_blocked(connection)
            [claim] = making.claimed(owner)
            continuing.fail(old, claim, '{"n": 5}', step=2)
        made = call.result(30)
    assert (made.current_step_index, made.progress) == (2, {"n": 5})
    assert Resubmission.objects.get().checkpoint_step == 2
    consistent()


# --- campaigns ---


def started(owner: Tenant, **members: Any) -> Campaign:
    return campaigns.start(
        owner, EVERY, reason="because", rate_per_minute=6000, actor="user:ann", kind=Campaign.Kind.RESUBMIT, **members
    )


def pass_time() -> None:
    Campaign.objects.filter(finished_at=None).update(rate_since=F("rate_since") - timedelta(seconds=60))


@pytest.mark.parametrize("_", rounds(3))
def test_two_campaigns_and_a_person_resubmit_each_failure_once(_: int) -> None:
    owner, _release = making.ready()
    failed = making.dead(owner, *(f"k{number}" for number in range(10)))
    both = [started(owner), started(owner)]
    pass_time()
    person = resubmitting(owner, failed[5], operation_key="by hand")
    results_of(race(*[campaigns.advance] * 4, person))
    deadline = time.monotonic() + 20
    while CampaignItem.objects.filter(outcome="PENDING").exists():
        assert time.monotonic() < deadline
        campaigns.advance()
    consistent()
    by_campaigns = Resubmission.objects.exclude(campaign=None)
    assert by_campaigns.count() in {9, 10}
    assert len(set(by_campaigns.values_list("execution", flat=True))) == by_campaigns.count()
    found = campaigns.progress([each.pk for each in both]).values()
    assert sum(each.resubmitted for each in found) == by_campaigns.count()
    assert sum(each.skipped for each in found) == 20 - by_campaigns.count()
    skipped = CampaignItem.objects.filter(outcome="SKIPPED").values_list("code", flat=True)
    assert set(skipped) == {"ALREADY_RESUBMITTED"}


@pytest.mark.parametrize("_", ROUNDS)
def test_a_campaign_and_a_revocation_of_its_target(_: int) -> None:
    owner, _release = making.ready()
    making.dead(owner, *(f"k{number}" for number in range(5)))
    release = registered(owner)
    made = started(owner, target_release_version="1.1")
    pass_time()
    results_of(race(campaigns.advance, revoking(release)))
    campaigns.advance()
    found = campaigns.progress([made.pk])[made.pk]
    assert (found.pending, found.resubmitted + found.skipped) == (0, 5)
    assert found.resubmitted in {0, 5}
    codes = set(made.items.filter(outcome="SKIPPED").values_list("code", flat=True))
    assert codes <= {"RELEASE_NOT_ADMITTED"}
    consistent()


def test_a_campaign_rechecks_items_whose_active_release_changes() -> None:
    owner, _release = making.ready()
    making.dead(owner, *(f"k{number}" for number in range(5)))
    release = registered(owner)
    made = started(owner)
    pass_time()
    with thread() as other:
        waiting = campaigns.advance
        with transaction.atomic():
            activate(release, actor="user:bob")
            call = other.submit(waiting)
            until_blocked(connection)
        call.result(30)
    campaigns.advance()
    assert campaigns.progress([made.pk])[made.pk].resubmitted == 5
    assert set(Execution.objects.filter(origin__campaign=made).values_list("release_version", flat=True)) == {"1.1"}
    consistent()
