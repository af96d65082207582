"""One view decides which worker may run a release. Admission, claim, stranded work and pages all agree with it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.errors import WorkerUnavailable
from executions.models import Execution, Worker, WorkerEligibility
from executions.transports.rest import artifact_conflict
from executions.workers import eligibility
from executions.workers.eligibility import explained, require_healthy, stranded, why_stranded
from governance.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
AGO = timezone.now() - timedelta(hours=1)
IMAGE = "sha256:" + "1" * 64
OTHER = "sha256:" + "0" * 64


def pinning(owner: Tenant, *names: str, version: str = "1.0") -> Release:
    """An active release that pins these artifacts: stored files (`file`, `second`) and a container image (`image`)."""
    contract = making.contract()
    files = {"file": making.archive(contract, code=version), "second": making.archive(None, code=version)}
    document = making.descriptor(contract, files["file"], version)
    image = {"artifactId": "image", "kind": "container-image", "uri": f"registry.example/app@{IMAGE}", "digest": IMAGE}
    pinned = {"image": image} | {
        name: {"artifactId": name, "kind": "local-file", "uri": name, "digest": making.digest_of(data)}
        for name, data in files.items()
    }
    document["artifacts"] = [pinned[name] for name in names]
    sent = [data for name, data in files.items() if name in names]
    release = making.verified(making.upload(owner, document, *sent).release)
    activate(release, actor="user:test")
    return release


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    owner = making.tenant()
    return owner, pinning(owner, "file", "second", "image")


REASONS: dict[str, dict[str, Any]] = {
    "PROTOCOL_NOT_SUPPORTED": {"protocol": "sqs"},
    "STOPPED": {"stopped_at": AGO},
    "RELEASE_UNKNOWN": {"release_version": "9"},
    "OTHER_ARTIFACT": {"artifact_digest": OTHER},
    "UNVERIFIED_CODE": {"code": "source"},
    "SILENT": {"alive_until": AGO},
    "ENDPOINT_NOT_ALLOWED": {"blocked_reason": "ENDPOINT_NOT_ALLOWED"},
}
CELERY_ONLY = ("PROTOCOL_NOT_SUPPORTED", "UNVERIFIED_CODE", "SILENT")
GOOD: list[dict[str, Any]] = [{}, {"artifact_digest": IMAGE}, {"capacity": 2, "abandoned": 1}]


@cases("protocol", ["celery", "rest"])
@cases(("reason", "changes"), [*((None, changes) for changes in GOOD), *REASONS.items()])
def test_all_parts_of_the_coordinator_agree_on_the_eligibility_of_a_worker(
    owner: Tenant, release: Release, protocol: str, reason: str | None, changes: dict[str, Any]
) -> None:
    if protocol == "rest" and reason in CELERY_ONLY:
        return
    members = {"protocol": protocol, "capability_checked_at": timezone.now(), **changes}
    making.worker(release, "other", stopped_at=AGO)
    making.worker(release, "first")
    making.execution(owner)
    with unguarded(Worker):
        Worker.objects.filter(worker_id="first").delete()
    worker = making.worker(release, **members)

    found = WorkerEligibility.objects.get(pk=worker.pk)
    runs = reason is None
    assert (found.reason, found.admits) == (reason, runs)
    if runs:
        require_healthy(release)
    else:
        with pytest.raises(WorkerUnavailable):
            require_healthy(release)
    named = eligibility.hosts(release)
    assert (named.eligible, named.capacity > 0) == ([worker.worker_id] if runs else [], runs)
    expected = ["STOPPED" if reason == "RELEASE_UNKNOWN" else str(reason)]
    assert why_stranded(release.pk) == (None if runs else explained(expected))
    assert [each.reasons for each in stranded([owner.pk])] == ([] if runs else [expected])
    assert [claim.protocol for claim in making.claimed(owner)] == ([protocol] if runs else [])
    owners = Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True)
    assert set(owners) <= {found.lease_owner if protocol == "rest" else "dispatcher"}


def test_a_worker_names_an_artifact_of_its_release_by_id_digest_or_both() -> None:
    owner = making.tenant()
    earlier = pinning(owner, "file", version="0.9").artifacts.get().digest
    release = pinning(owner, "file", "second", "image")
    pinned = {each.artifact_id: each.digest for each in release.artifacts.all()}
    assert len({earlier, OTHER, *pinned.values()}) == 5
    worker = making.worker(release)
    for digest in ("", *pinned.values(), earlier, OTHER):
        for artifact_id in ("", *pinned, "other"):
            Worker.objects.filter(pk=worker.pk).update(artifact_digest=digest, artifact_id=artifact_id)
            found = WorkerEligibility.objects.get(pk=worker.pk)
            fits = any(artifact_id in ("", name) and digest in ("", pinned[name]) for name in pinned)
            assert (found.admits, found.reason) == (fits, None if fits else "OTHER_ARTIFACT"), (digest, artifact_id)
            assert (artifact_conflict(release, artifact_id, digest) is None) == fits, (digest, artifact_id)


def test_a_silent_rest_worker_admits_no_submissions_and_runs_accepted_executions(
    owner: Tenant, release: Release
) -> None:
    """Wire protocol D.8: lifecycle counts at submission, and never at dispatch."""
    worker = making.worker(release)
    making.execution(owner)
    Worker.objects.update(protocol="rest", alive_until=AGO)
    found = WorkerEligibility.objects.get(pk=worker.pk)
    assert (found.state, found.reason, found.admits) == ("STALE", None, False)
    with pytest.raises(WorkerUnavailable, match="current states: worker-1=STALE"):
        require_healthy(release)
    assert stranded([owner.pk]) == []
    assert len(making.claimed(owner)) == 1
