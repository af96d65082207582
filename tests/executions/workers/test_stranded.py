"""Stranded work is listed: the release, the number of executions, and since when."""

from dataclasses import astuple
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Execution, Worker
from executions.workers.stranded import stranded
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def due_since(execution: Execution, age: timedelta) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=NOW - age)


def test_only_due_executions_count(owner: Tenant, release: Release) -> None:
    later, over, running = (making.execution(owner, key) for key in ("later", "over", "running"))
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    making.record(making.outcome_of(claims[over.pk]), making.failure(claims[later.pk]))
    Worker.objects.update(stopped_at=NOW)
    assert stranded([owner.pk]) == []
    due_since(later, timedelta())
    [found] = stranded([owner.pk])
    assert (found.tenant, found.pipeline_id, found.contract_version, found.release_version) == astuple(release.identity)
    assert (found.release_id, found.count) == (release.pk, 1)
    running.refresh_from_db()
    assert running.status == "RUNNING"


def test_each_release_of_the_requested_tenants_is_listed_separately(owner: Tenant, release: Release) -> None:
    making.execution(owner, "one")
    second = making.active(owner, "2.0")
    making.worker(second, "worker-2")
    for key in ("two", "three"):
        making.execution(owner, key)
    other, _ = making.ready()
    making.execution(other)
    Worker.objects.update(stopped_at=NOW)
    assert [(each.release_id, each.count) for each in stranded([owner.pk])] == [(second.pk, 2), (release.pk, 1)]
    assert len(stranded([owner.pk, other.pk])) == 3
    assert stranded([]) == []


HOUR = timedelta(hours=1)


@cases(
    ("due", "changes", "since"),
    [
        (3, {"last_heartbeat_at": NOW - 2 * HOUR, "alive_until": NOW - HOUR}, 2),
        (1, {"stopped_at": NOW - 2 * HOUR}, 1),
        (3, {"draining_since": NOW - 2 * HOUR}, 2),
        (3, {"drained_by_operator_at": NOW - 2 * HOUR}, 2),
        (3, {"drained_by_operator_at": NOW - HOUR, "stopped_at": NOW - 2 * HOUR}, 2),
        (3, {"abandoned": 10}, 3),
        (3, {"artifact_digest": "sha256:other"}, 3),
        (3, {"code": "source"}, 3),
    ],
)
def test_work_is_stranded_since_its_last_worker_left_or_it_became_due(
    owner: Tenant, release: Release, due: int, changes: dict[str, Any], since: int
) -> None:
    due_since(making.execution(owner, "old"), due * HOUR)
    due_since(making.execution(owner, "new"), timedelta())
    Worker.objects.update(**{"last_heartbeat_at": NOW, **changes})
    making.worker(release, "earlier", stopped_at=NOW - 9 * HOUR, last_heartbeat_at=NOW - 9 * HOUR)
    [found] = stranded([owner.pk])
    assert (found.count, found.since) == (2, NOW - since * HOUR)
