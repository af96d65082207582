"""The plan of transition workers: which releases need some, why, how many, and which may go."""

from typing import Any

import pytest
from django.utils import timezone

from executions.inspection.worker_plan import MOST_WORKERS, Load, PlannedRelease, Reason, suggested, worker_plan
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import gradual, making
from tests.cases import cases

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


def test_a_replaced_release_that_is_still_used_needs_workers(owner: Tenant, active: Release) -> None:
    """Callers may name it for some time, or its executions are open or wait for answers."""
    making.execution(owner)
    found = replaced(owner)["1.0"]
    assert (found.reasons, found.may_go, found.load.due) == ((Reason.OPEN,), False, 1)
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim))
    assert planned(owner)["1.0"].reasons == (Reason.AWAITING,)
    Pipeline.objects.update(skew_grace_minutes=5)
    assert Reason.PINNED in planned(owner)["1.0"].reasons


def test_the_candidate_of_a_gradual_activation_needs_workers(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50)
    assert planned(owner)[made.candidate.release_version].reasons == (Reason.GRADUAL,)


LATE: dict[str, Any] = {"age": 60.0, "running": 0}


@cases(
    ("load", "workers"),
    [
        (Load(due=0, running=0, age=0.0, live=5, capacity=50), 1),
        (Load(due=0, running=11, age=0.0, live=5, capacity=50), 2),
        (Load(due=70, live=5, capacity=50, **LATE), 7),
        (Load(due=5000, live=0, capacity=0, **LATE), 1),
        (Load(due=10_000, live=80, capacity=80, **LATE), MOST_WORKERS),
    ],
)
def test_the_number_follows_the_work_and_its_age(load: Load, workers: int) -> None:
    assert suggested(load) == workers
