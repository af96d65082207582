"""Limits of an installation: which tenants may run executions, and how many at a time."""

from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.errors import TenantNotAllowed
from executions.lifecycle.dispatch import dispatch
from executions.lifecycle.outcome import record
from executions.lifecycle.redrive import redrive
from executions.models import Execution
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db


def hosted(owner: Tenant, pipeline_id: str = making.PIPELINE) -> Release:
    release = making.active(owner, pipeline_id=pipeline_id)
    making.worker(release, f"of-{pipeline_id}", capacity=100)
    return release


def submit(owner: Tenant, count: int, pipeline_id: str = making.PIPELINE) -> None:
    for number in range(count):
        making.execution(owner, f"{pipeline_id}-{number}", pipeline_id=pipeline_id)


# --- allowed tenants ------------------------------------------------------------------------------


def test_a_tenant_that_is_not_allowed_submits_no_executions(settings: Any) -> None:
    allowed, other = making.tenant(), making.tenant()
    hosted(allowed)
    hosted(other)
    settings.ALLOWED_TENANTS = [allowed.slug]
    submit(allowed, 1)
    with pytest.raises(TenantNotAllowed, match=other.slug):
        submit(other, 1)
    assert not Execution.objects.filter(tenant=other).exists()


def test_a_tenant_that_is_no_longer_allowed_redrives_nothing_but_its_executions_continue(settings: Any) -> None:
    owner = making.tenant()
    hosted(owner)
    [dead] = making.dead(owner, "dead")
    making.execution(owner, "accepted")
    settings.ALLOWED_TENANTS = ["another"]
    with pytest.raises(TenantNotAllowed):
        redrive(owner, dead.pk, actor="user:test", reason="again")
    with pytest.raises(TenantNotAllowed):
        campaigns.start(
            owner, Filters(pipeline_id=making.PIPELINE), reason="again", rate_per_minute=60, actor="user:test"
        )
    assert [claim.execution_id for claim in making.claimed(owner)] == [
        Execution.objects.get(tenant=owner, execution_key="accepted").pk
    ]


# --- in flight ------------------------------------------------------------------------------------


def running(owner: Tenant) -> int:
    return Execution.objects.filter(tenant=owner, status="RUNNING").count()


def test_a_quota_limits_the_running_executions_of_a_tenant(settings: Any) -> None:
    one, other = making.tenant(), making.tenant()
    for owner in (one, other):
        for pipeline_id in ("a", "b", "c"):
            hosted(owner, pipeline_id)
            submit(owner, 4, pipeline_id)
    settings.TENANT_MAX_IN_FLIGHT = 5
    dispatch()
    assert (running(one), running(other)) == (5, 5)
    dispatch()
    assert (running(one), running(other)) == (5, 5)


def test_executions_above_the_quota_are_claimed_later() -> None:
    owner = making.tenant()
    release = hosted(owner)
    submit(owner, 5)
    first = making.claimed(owner, quota=2)
    assert len(first) == 2
    assert making.claimed(owner, quota=2) == []
    assert record(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(first[0])])) == 1
    assert len(making.claimed(owner, quota=2)) == 1
    assert len(making.claimed(owner)) == 2  # without a quota, all others


def test_a_lowered_quota_does_not_affect_running_executions() -> None:
    owner = making.tenant()
    hosted(owner)
    submit(owner, 5)
    assert len(making.claimed(owner, limit=4)) == 4
    assert making.claimed(owner, quota=2) == []
    assert running(owner) == 4


def test_a_tenant_at_its_quota_takes_nothing_from_another(settings: Any) -> None:
    settings.TENANT_MAX_IN_FLIGHT = 2
    full, other = making.tenant(), making.tenant()
    hosted(full)
    submit(full, 6)
    dispatch()
    hosted(other)
    submit(other, 6)
    dispatch()
    assert (running(full), running(other)) == (2, 2)
