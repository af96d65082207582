"""Drift: where reality differs from what was registered and activated, with evidence, since when, and what to do."""

from typing import Any

import pytest
from django.utils import timezone

from executions.inspection.drift import drift
from executions.inspection.drifts import Drift, Kind, Subject
from executions.models import Execution, Worker, WorkerEvent
from releases.models import Activation, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
OTHER_DIGEST = "sha256:" + "0" * 64


def facts(found: Drift) -> dict[str, str]:
    return {fact.name: fact.value for fact in found.evidence}


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
    owner: Tenant, release: Release, members: dict[str, Any], kind: Kind, name: str
) -> None:
    rest: dict[str, Any] = {
        "protocol": "rest",
        "endpoint": "https://worker.example",
        "capability_checked_at": timezone.now(),
    }
    worker = making.worker(release, "odd", **rest, **members)
    [found] = drift(owner)
    assert (found.kind, found.subject, found.name) == (kind, Subject.WORKER, "odd")
    assert facts(found)[name] in members.values()
    if kind != Kind.DEPLOYMENT:
        assert (found.release_version, found.since) == ("1.0", worker.registered_at)


def test_an_active_release_without_workers_is_found_since_its_activation(owner: Tenant, release: Release) -> None:
    newer = making.active(owner, "2.0")
    [found] = drift(owner)
    assert (found.kind, found.subject, found.name) == (Kind.DEPLOYMENT, Subject.RELEASE, "2.0")
    assert facts(found) == {"Active": "yes", "Open executions": "0", "Workers": "no worker names the release"}
    assert found.since == Activation.objects.get(release=newer).activated_at
    assert "pipelines worker" in found.remedy


def test_each_pipeline_and_each_tenant_has_its_own_drift(owner: Tenant, release: Release) -> None:
    making.execution(owner)
    assert drift(owner) == drift(owner, release.pipeline) == []
    other = making.active(owner, pipeline_id="org.example.other")
    [found] = drift(owner)
    assert (found.pipeline_id, found.kind) == ("org.example.other", Kind.DEPLOYMENT)
    assert (drift(owner, release.pipeline), drift(owner, other.pipeline)) == ([], [found])
    stranger, theirs = making.ready()
    making.worker(theirs, "odd", artifact_digest=OTHER_DIGEST)
    making.worker(theirs, "early", release_version="9.0")
    making.execution(stranger)
    making.active(stranger, "2.0")
    before = rows(Execution), rows(Worker), rows(WorkerEvent), rows(Release)
    assert drift(owner) == [found]
    assert len(drift(stranger)) == 3
    assert (rows(Execution), rows(Worker), rows(WorkerEvent), rows(Release)) == before
