"""Limits of an installation: which tenants may run executions, and how many at a time."""

from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.errors import TenantNotAllowed
from executions.lifecycle.dispatch import dispatch
from executions.lifecycle.redrive import redrive
from executions.models import Execution
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:test", "reason": "again"}


def submit(owner: Tenant, count: int, *pipelines: str) -> None:
    """Submit `count` executions of each pipeline. Each has a worker with places for all of them."""
    for pipeline_id in pipelines:
        making.worker(making.active(owner, pipeline_id=pipeline_id), f"of-{pipeline_id}", capacity=100)
        for number in range(count):
            making.execution(owner, f"{pipeline_id}-{number}", pipeline_id=pipeline_id)


def running(owner: Tenant) -> int:
    return Execution.objects.filter(tenant=owner, status="RUNNING").count()


def test_a_tenant_that_is_not_allowed_submits_no_executions(owner: Tenant, settings: Any) -> None:
    other, _ = making.ready()
    settings.ALLOWED_TENANTS = [owner.slug]
    making.execution(owner)
    with unchanged(), pytest.raises(TenantNotAllowed, match=other.slug):
        making.execution(other)


def test_a_tenant_that_is_no_longer_allowed_redrives_nothing_but_its_executions_continue(
    owner: Tenant, settings: Any
) -> None:
    [dead] = making.dead(owner, "dead")
    accepted = making.execution(owner, "accepted")
    settings.ALLOWED_TENANTS = ["another"]
    with unchanged():
        with pytest.raises(TenantNotAllowed):
            redrive(owner, dead.pk, **WHY)
        with pytest.raises(TenantNotAllowed):
            campaigns.start(owner, Filters(pipeline_id=making.PIPELINE), rate_per_minute=60, **WHY)
    assert [claim.execution_id for claim in making.claimed(owner)] == [accepted.pk]


def test_a_quota_limits_the_running_executions_of_each_tenant(settings: Any) -> None:
    one, other = making.tenant(), making.tenant()
    submit(one, 4, "a", "b", "c")
    settings.TENANT_MAX_IN_FLIGHT = 5
    dispatch()
    submit(other, 4, "a", "b", "c")
    for _ in range(2):
        dispatch()
        assert (running(one), running(other)) == (5, 5)


def test_executions_above_the_quota_are_claimed_later() -> None:
    owner = making.tenant()
    submit(owner, 5, "a")
    first, _ = making.claimed(owner, quota=2)
    assert making.claimed(owner, quota=2) == []
    assert making.record(making.outcome_of(first)) == 1
    assert len(making.claimed(owner, quota=2)) == 1
    assert len(making.claimed(owner)) == 2, "without a quota, all others"
    assert making.claimed(owner, quota=2) == [], "a lowered quota does not affect running executions"
    assert running(owner) == 4
