"""Drift: where reality differs from what was registered and activated, with evidence, since when, and what to do."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions.inspection.drift import drift
from executions.inspection.drifts import Drift, Kind, Subject
from executions.models import Execution, Worker, WorkerEvent
from executions.submission import resubmission
from executions.workers.registry import take_heartbeat
from executions.workers.stranded import stranded
from releases.models import Activation, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner, rows, unguarded
from wire.messages.celery_messages import Heartbeat

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
OTHER_DIGEST = "sha256:" + "0" * 64


def change(worker: str, **changes: Any) -> None:
    with as_owner():
        Worker.objects.filter(worker_id=worker).update(**changes)


def send_heartbeat(release: Release, name: str = "celery-1", **members: Any) -> Worker:
    """Record a heartbeat of a worker of the release."""
    heartbeat = Heartbeat(worker_id=name, state="HEALTHY", capacity=2, **members)
    take_heartbeat(release.pipeline.tenant, release.identity, heartbeat, timezone.now())
    return Worker.objects.get(tenant=release.pipeline.tenant, worker_id=name)


def facts(found: Drift) -> dict[str, str]:
    return {fact.name: fact.value for fact in found.evidence}


def event_time(worker: Worker, cause: str) -> datetime:
    return WorkerEvent.objects.filter(worker=worker, data__cause=cause).latest("id").at


@cases(
    ("members", "kind", "name"),
    [
        ({"contract_version": OTHER_DIGEST}, Kind.CONTRACT, "The worker's contract"),
        ({"release_version": "9.0"}, Kind.DEPLOYMENT, "The worker's release"),
        ({"artifact_digest": OTHER_DIGEST}, Kind.ARTIFACT, "The worker's artifact"),
        ({"capability_error": "another release"}, Kind.DEPLOYMENT, "The last check"),
    ],
)
def test_a_worker_of_something_else_is_found_with_the_evidence(
    owner: Tenant, active: Release, members: dict[str, Any], kind: Kind, name: str
) -> None:
    rest: dict[str, Any] = {
        "protocol": "rest",
        "endpoint": "https://worker.example",
        "capability_checked_at": timezone.now(),
    }
    worker = making.worker(active, "odd", **rest, **members)
    [found] = drift(owner)
    assert (found.kind, found.subject, found.name) == (kind, Subject.WORKER, "odd")
    assert facts(found)[name] in members.values()
    if kind != Kind.DEPLOYMENT:
        assert (found.release_version, found.since) == ("1.0", worker.registered_at)


def test_unverified_code_is_found(owner: Tenant, active: Release) -> None:
    send_heartbeat(active, code="artifact")
    assert drift(owner) == []
    worker = send_heartbeat(active, code="source")
    [found] = drift(owner)
    assert (found.kind, found.name) == (Kind.ARTIFACT, "celery-1")
    assert facts(found)["The worker's code"] == "unverified: a folder"
    assert found.since == event_time(worker, "CODE_CHANGED")


@cases("gone", [{"stopped_at": timezone.now()}, {"alive_until": timezone.now() - HOUR}])
def test_workers_that_are_gone_do_not_drift(owner: Tenant, active: Release, gone: dict[str, Any]) -> None:
    making.worker(active, "odd", artifact_digest=OTHER_DIGEST)
    assert len(drift(owner)) == 1
    change("odd", **gone)
    assert drift(owner) == []


def test_an_active_release_without_workers_is_found_since_its_activation(owner: Tenant, active: Release) -> None:
    newer = making.active(owner, "2.0")
    [found] = drift(owner)
    assert (found.kind, found.subject, found.name) == (Kind.DEPLOYMENT, Subject.RELEASE, "2.0")
    assert facts(found) == {"Active": "yes", "Open executions": "0", "Workers": "no worker names the release"}
    assert found.since == Activation.objects.get(release=newer).activated_at
    assert "pipelines worker" in found.remedy


@cases("cause", ["stopped_at", "draining_since", "drained_by_operator_at"])
def test_a_release_that_lost_its_worker_is_found_since_then_as_its_stranded_work(
    owner: Tenant, active: Release, cause: str
) -> None:
    execution = making.execution(owner)
    with unguarded(Activation):
        Activation.objects.update(activated_at=F("activated_at") - 3 * HOUR)
    with unguarded(Execution):
        Execution.objects.filter(pk=execution.pk).update(next_due_at=F("next_due_at") - 3 * HOUR)
    lost_at = timezone.now() - HOUR
    change("worker-1", **{cause: lost_at})
    [found] = drift(owner)
    [waiting] = stranded([owner.pk])
    assert found.since == waiting.since == lost_at
    assert facts(found) == {"Active": "yes", "Open executions": "1", "Workers": waiting.explanation}


def test_submissions_to_another_release_than_the_active_one_are_found(owner: Tenant, active: Release) -> None:
    [failed] = making.dead(owner, "k")
    newer = making.active(owner, "2.0")
    making.worker(newer, "w2")
    with unguarded(Activation):
        Activation.objects.update(activated_at=F("activated_at") - HOUR)
    with unguarded(Execution):
        Execution.objects.update(created_at=F("created_at") - 2 * HOUR)
    assert drift(owner) == []
    again: dict[str, Any] = {"reason": "again", "release_version": "1.0"}
    made = [resubmission.resubmit(owner, failed.pk, actor=actor, **again) for actor in ("user:eva", "token:ci")]
    [found] = drift(owner)
    assert (found.kind, found.subject) == (Kind.CALLERS, Subject.PIPELINE)
    assert (found.name, found.release_version) == (making.PIPELINE, "2.0")
    times = sorted(each.created_at for each in made)
    assert (facts(found)["Executions"], facts(found)["Callers"]) == ("2", "token:ci, user:eva")
    assert found.since == times[0]


def test_each_pipeline_and_each_tenant_has_its_own_drift(owner: Tenant, active: Release) -> None:
    making.execution(owner)
    assert drift(owner) == drift(owner, active.pipeline) == []
    other = making.active(owner, pipeline_id="org.example.other")
    [found] = drift(owner)
    assert (found.pipeline_id, found.kind) == ("org.example.other", Kind.DEPLOYMENT)
    assert (drift(owner, active.pipeline), drift(owner, other.pipeline)) == ([], [found])
    stranger, theirs = making.ready()
    making.worker(theirs, "odd", artifact_digest=OTHER_DIGEST)
    making.worker(theirs, "early", release_version="9.0")
    making.execution(stranger)
    making.active(stranger, "2.0")
    before = rows(Execution), rows(Worker), rows(WorkerEvent), rows(Release)
    assert drift(owner) == [found]
    assert len(drift(stranger)) == 3
    assert (rows(Execution), rows(Worker), rows(WorkerEvent), rows(Release)) == before
