"""Stranded work is listed: the release, the number of executions, and since when."""

from dataclasses import astuple
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle.outcome import record
from executions.models import Execution, Worker
from executions.workers.stranded import stranded
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


def due_since(execution: Execution, age: timedelta) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=NOW - age)


def change(owner: Tenant, **changes: Any) -> None:
    with as_owner():
        Worker.objects.filter(tenant=owner).update(**changes)


@cases(
    ("changes", "strands"),
    [
        ({}, False),
        ({"alive_until": NOW - HOUR}, True),
        ({"draining_since": NOW - HOUR}, True),
        ({"drained_by_operator_at": NOW - HOUR}, True),
        ({"stopped_at": NOW - HOUR}, True),
        ({"release_version": "2.0"}, True),
        ({"contract_version": "sha256:other"}, True),
        ({"artifact_digest": "sha256:other"}, True),
        ({"pipeline_id": "org.example.other"}, True),
        ({"abandoned": 10}, True),
        ({"abandoned": 9}, False),
    ],
)
def test_due_executions_are_either_claimed_or_stranded(
    ready: tuple[Tenant, Release], changes: dict[str, Any], strands: bool
) -> None:
    """The claim and the list use the same rule for which workers host a release."""
    owner, release = ready
    making.execution(owner)
    change(owner, **changes)
    found = stranded([owner.pk])
    assert len(found) == strands
    assert len(making.claimed(owner)) == (not strands)
    for each in found:
        assert (each.tenant, each.pipeline_id, each.contract_version, each.release_version) == astuple(release.identity)
        assert (each.release_id, each.count) == (release.pk, 1)


def test_a_worker_that_names_the_artifact_hosts_it(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    making.execution(owner)
    change(owner, artifact_digest=release.artifacts.get().digest)
    assert stranded([owner.pk]) == []
    change(owner, artifact_digest="")
    assert stranded([owner.pk]) == []


def test_only_due_executions_count(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    later, over, running = (making.execution(owner, key) for key in ("later", "over", "running"))
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    outcomes = [making.outcome_of(claims[over.pk]), making.failure(claims[later.pk])]
    record(release.identity, OutcomeGroup(worker_id="w", outcomes=outcomes))
    change(owner, stopped_at=NOW)
    assert stranded([owner.pk]) == []
    due_since(later, timedelta())
    [found] = stranded([owner.pk])
    assert found.count == 1
    running.refresh_from_db()
    assert running.status == "RUNNING"


@cases(
    ("due", "changes", "since"),
    [
        (3 * HOUR, {"last_heartbeat_at": NOW - 2 * HOUR, "alive_until": NOW - 2 * HOUR}, NOW - 2 * HOUR),
        (1 * HOUR, {"last_heartbeat_at": NOW - 2 * HOUR, "alive_until": NOW - 2 * HOUR}, NOW - 1 * HOUR),
        (3 * HOUR, {"stopped_at": NOW - 2 * HOUR}, NOW - 2 * HOUR),
        (3 * HOUR, {"draining_since": NOW - 2 * HOUR}, NOW - 2 * HOUR),
        (3 * HOUR, {"abandoned": 10, "last_heartbeat_at": NOW}, NOW - 3 * HOUR),
        (3 * HOUR, {"artifact_digest": "sha256:other", "last_heartbeat_at": NOW}, NOW - 3 * HOUR),
        (3 * HOUR, {"code": "source", "last_heartbeat_at": NOW}, NOW - 3 * HOUR),
        # It still sends heartbeats, but accepted its last work two hours ago.
        (3 * HOUR, {"drained_by_operator_at": NOW - 2 * HOUR}, NOW - 2 * HOUR),
        (3 * HOUR, {"drained_by_operator_at": NOW - HOUR, "stopped_at": NOW - 2 * HOUR}, NOW - 2 * HOUR),
    ],
)
def test_work_is_stranded_since_its_last_worker_left_or_it_became_due(
    ready: tuple[Tenant, Release], due: timedelta, changes: dict[str, Any], since: Any
) -> None:
    owner, _ = ready
    due_since(making.execution(owner, "old"), due)
    due_since(making.execution(owner, "new"), timedelta())
    change(owner, **changes)
    [found] = stranded([owner.pk])
    assert (found.count, found.since) == (2, since)


def test_the_last_worker_to_leave_counts(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    making.worker(release, "first", stopped_at=NOW - 2 * HOUR)
    due_since(making.execution(owner), 3 * HOUR)
    change(owner, stopped_at=NOW - HOUR)
    Worker.objects.filter(tenant=owner, worker_id="first").update(stopped_at=NOW - 2 * HOUR)
    [found] = stranded([owner.pk])
    assert found.since == NOW - HOUR


def test_without_any_worker_work_is_stranded_since_the_oldest_became_due(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    due_since(making.execution(owner), HOUR)
    with as_owner():
        Worker.objects.filter(tenant=owner).delete()
    [found] = stranded([owner.pk])
    assert found.since == NOW - HOUR


def test_each_release_of_the_requested_tenants_is_listed_separately(ready: tuple[Tenant, Release]) -> None:
    owner, first = ready
    making.execution(owner, "one")
    second = making.active(owner, "2.0")
    making.worker(second, "worker-2")
    for key in ("two", "three"):
        making.execution(owner, key)
    other, _ = making.ready()
    making.execution(other)
    Worker.objects.update(stopped_at=NOW)
    assert [(each.release_id, each.count) for each in stranded([owner.pk])] == [(second.pk, 2), (first.pk, 1)]
    assert len(stranded([owner.pk, other.pk])) == 3
    assert stranded([]) == []
