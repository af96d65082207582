"""Heartbeats: they register workers and renew leases, and older ones are ignored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.models import Execution, Worker, WorkerEligibility, WorkerEvent
from executions.workers.registry import take_heartbeat
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import run
from wire.messages.celery_messages import Heartbeat, HeldLease
from wire.messages.limits import LONGEST_WORKER_ID

pytestmark = pytest.mark.django_db

SENT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


@pytest.fixture
def owner(release: Release) -> Tenant:
    return release.pipeline.tenant


def state(worker: Worker) -> str:
    return WorkerEligibility.objects.get(pk=worker.pk).state


def heartbeat(release: Release, sent_at: datetime = SENT, **members: Any) -> Worker:
    defaults: dict[str, Any] = {"worker_id": "w", "state": "HEALTHY", "capacity": 2}
    take_heartbeat(release.pipeline.tenant, release.identity, Heartbeat(**{**defaults, **members}), sent_at)
    return Worker.objects.get(tenant=release.pipeline.tenant, worker_id="w")


def test_the_first_heartbeat_registers_the_worker(release: Release) -> None:
    worker = heartbeat(release, artifact_id="app", artifact_digest="sha256:1", capacity=7)
    assert (worker.pipeline_id, worker.contract_version) == (making.PIPELINE, release.contract_version)
    assert (worker.release_version, worker.protocol, worker.capacity) == ("1.0", "celery", 7)
    assert (worker.artifact_id, worker.artifact_digest) == ("app", "sha256:1")
    assert worker.last_sent_at == SENT
    # The coordinator's clock decides whether the worker is alive, not the worker's.
    assert abs(timezone.now() - worker.last_heartbeat_at) < timedelta(minutes=1)
    assert worker.registered_at == worker.last_heartbeat_at
    assert state(worker) == "HEALTHY"


def test_a_worker_may_have_the_longest_id(release: Release) -> None:
    longest = "w" * LONGEST_WORKER_ID
    heartbeat(release)
    heartbeat(release, worker_id=longest)
    [event] = WorkerEvent.objects.filter(worker__worker_id=longest)
    assert event.actor == f"worker:{longest}"


def test_a_worker_changes_its_states_and_may_return(release: Release) -> None:
    states = []
    for number, word in enumerate(["HEALTHY", "DRAINING", "UNAVAILABLE", "HEALTHY"]):
        states.append(state(heartbeat(release, SENT + number * SECOND, state=word)))
    assert states == ["HEALTHY", "DRAINING", "UNAVAILABLE", "HEALTHY"]
    assert Worker.objects.filter(tenant=release.pipeline.tenant).count() == 1


@cases(
    ("silent", "changes", "expected"),
    [
        (25, {}, "HEALTHY"),
        (31, {}, "STALE"),
        (31, {"draining_since": SENT}, "DRAINING"),
        (31, {"stopped_at": SENT}, "UNAVAILABLE"),
        (0, {"stopped_at": SENT, "draining_since": SENT}, "UNAVAILABLE"),
    ],
)
def test_a_silent_worker_is_stale_unless_it_drains_or_stopped(
    release: Release, silent: int, changes: dict[str, Any], expected: str
) -> None:
    worker = heartbeat(release)
    run("UPDATE executions_worker SET alive_until = alive_until - make_interval(secs => %s)", silent)
    Worker.objects.filter(pk=worker.pk).update(**changes)
    assert state(worker) == expected


@cases("age", [SECOND, timedelta()])
def test_a_heartbeat_that_is_not_newer_than_the_last_one_changes_nothing(
    release: Release, age: timedelta, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Messages may overtake each other, and a client of the broker can replay one. It renews no leases either."""
    owner = release.pipeline.tenant
    making.worker(release, "other")
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    heartbeat(release, state="DRAINING")
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=SENT)
    before = Worker.objects.filter(tenant=owner).values().get(worker_id="w")

    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token)
    with django_capture_on_commit_callbacks() as wakeups:
        heartbeat(release, SENT - age, state="HEALTHY", capacity=9, running=[lease])
    assert Worker.objects.filter(tenant=owner).values().get(worker_id="w") == before
    assert Execution.objects.get(pk=execution.pk).lease_expires_at == SENT
    assert wakeups == []


@cases(("state", "rings"), [("HEALTHY", 1), ("DRAINING", 0), ("UNAVAILABLE", 0)])
def test_an_accepting_worker_causes_a_wakeup(
    release: Release, state: str, rings: int, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as wakeups:
        heartbeat(release, state=state)
    assert len(wakeups) == rings


@cases("state", ["HEALTHY", "DRAINING"])
def test_a_heartbeat_renews_the_leases_that_it_names(release: Release, owner: Tenant, state: str) -> None:
    making.worker(release, "other")
    held, left = making.execution(owner, "held"), making.execution(owner, "left")
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    Execution.objects.filter(tenant=owner).update(lease_expires_at=SENT)
    heartbeat(release, state=state, running=[HeldLease(execution_id=held.pk, lease_token=claims[held.pk].lease_token)])
    held.refresh_from_db()
    left.refresh_from_db()
    assert held.lease_expires_at is not None
    assert held.lease_expires_at > timezone.now()
    assert left.lease_expires_at == SENT


def test_a_worker_that_changes_its_release_no_longer_hosts_the_first_one(release: Release, owner: Tenant) -> None:
    heartbeat(release)
    second = making.active(owner, "2.0")
    worker = heartbeat(second, SENT + SECOND)
    assert worker.release_version == "2.0"
    assert Worker.objects.filter(tenant=owner).count() == 1


def test_workers_of_one_name_are_distinguished_by_tenant_and_pipeline(release: Release, owner: Tenant) -> None:
    others = [making.active(owner, pipeline_id="org.example.other"), making.active(making.tenant())]
    for each in (release, *others):
        take_heartbeat(each.pipeline.tenant, each.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), SENT)
    tenants = [owner, others[1].pipeline.tenant]
    found = Worker.objects.filter(tenant__in=tenants, worker_id="w").values_list("tenant", "pipeline_id")
    assert set(found) == {(each.pipeline.tenant_id, each.pipeline.pipeline_id) for each in (release, *others)}
