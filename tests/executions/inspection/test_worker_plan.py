"""The plan of transition workers: which releases need some, why, how many, and which may go."""

import pytest
from django.utils import timezone

from executions.inspection.worker_plan import PlannedRelease, Reason, worker_plan
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def planned(owner: Tenant) -> dict[str, PlannedRelease]:
    return {each.release_version: each for each in worker_plan(owner)}


def replaced(owner: Tenant) -> dict[str, PlannedRelease]:
    """Activate release 1.1 in place of 1.0, and return the plan."""
    making.worker(making.active(owner, "1.1", body="# another"), "of-the-next")
    return planned(owner)


def test_the_workers_of_a_replaced_release_may_go(owner: Tenant) -> None:
    making.dead(owner, "finished")
    assert planned(owner)["1.0"].reasons == (Reason.ACTIVE,)
    found = replaced(owner)["1.0"]
    assert (found.reasons, found.workers, found.may_go, found.load.live) == ((), 0, True, 1)
    owner.workers.update(stopped_at=timezone.now())
    [active] = worker_plan(owner)
    assert (active.release_version, active.workers, active.load.live) == ("1.1", 1, 0)


def test_a_replaced_release_that_is_still_used_needs_workers(owner: Tenant) -> None:
    """Callers may name it for some time, or its executions are open or wait for answers."""
    making.execution(owner)
    found = replaced(owner)["1.0"]
    assert (found.reasons, found.may_go, found.load.due) == ((Reason.OPEN,), False, 1)
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim))
    assert planned(owner)["1.0"].reasons == (Reason.AWAITING,)
    Pipeline.objects.update(skew_grace_minutes=5)
    assert Reason.PINNED in planned(owner)["1.0"].reasons
