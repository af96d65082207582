"""One view decides which worker may run a release. Admission, claim, stranded work and pages all agree with it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coordinator.tenancy.models import Tenant
from executions import impact
from executions.eligibility import require_healthy
from executions.errors import WorkerUnavailable
from executions.models import Execution, Worker, WorkerEligibility
from executions.protocol import Heartbeat
from executions.rest_capabilities import artifact_conflict
from executions.stranded import stranded, why_stranded
from executions.worker_registry import take_heartbeat
from releases.activation import activate
from releases.models import Release
from tests import making
from tests.raw_sql import as_owner

pytestmark = pytest.mark.django_db
NOW = timezone.now()
AGO = NOW - timedelta(hours=1)
IMAGE = "sha256:" + "1" * 64
OTHER = "sha256:" + "0" * 64


def pinning(owner: Tenant, *kinds: str) -> Release:
    """An active release that pins a stored file (`file`), a container image (`image`), or both."""
    contract = making.contract()
    data = making.archive(contract)
    file = {"artifactId": "file", "kind": "local-file", "uri": "app.zip", "digest": making.digest_of(data)}
    image = {"artifactId": "image", "kind": "container-image", "uri": f"registry.example/app@{IMAGE}", "digest": IMAGE}
    document = making.descriptor(contract, data)
    document["artifacts"] = [{"file": file, "image": image}[kind] for kind in kinds]
    release = making.verified(making.upload(owner, document, *([data] if "file" in kinds else [])).release)
    activate(release, actor="user:test")
    return release


@dataclass(frozen=True)
class Case:
    """The artifacts of a release, a worker, and why the worker gets no work of the release."""

    kinds: tuple[str, ...]
    worker: dict[str, Any]
    reason: str | None
    state: str = "HEALTHY"


NAMED: dict[str, Case] = {
    "names nothing": Case(("file",), {}, None),
    "names the file": Case(("file",), {"artifact_digest": "FILE", "artifact_id": "file"}, None),
    "names the id alone": Case(("file",), {"artifact_id": "file"}, None),
    "names another id": Case(("file",), {"artifact_id": "other"}, "OTHER_ARTIFACT"),
    "names another digest": Case(("file",), {"artifact_digest": OTHER}, "OTHER_ARTIFACT"),
    "names an image": Case(("image",), {"artifact_digest": IMAGE}, None),
    "names another image": Case(("image",), {"artifact_digest": OTHER}, "OTHER_ARTIFACT"),
    "names the image of a release that also has a file": Case(("file", "image"), {"artifact_digest": IMAGE}, None),
    "names the file of a release that also has an image": Case(("file", "image"), {"artifact_digest": "FILE"}, None),
    "names the id of one and the digest of the other": Case(
        ("file", "image"), {"artifact_digest": IMAGE, "artifact_id": "file"}, "OTHER_ARTIFACT"
    ),
    "is of another release": Case(("file",), {"release_version": "9"}, "RELEASE_UNKNOWN"),
    "is of another contract": Case(("file",), {"contract_version": "x"}, "RELEASE_UNKNOWN"),
    "drains": Case(("file",), {"draining_since": AGO}, "DRAINING", "DRAINING"),
    "is drained": Case(("file",), {"drained_by_operator_at": AGO}, "DRAINED_BY_OPERATOR", "DRAINING"),
    "is gone": Case(("file",), {"stopped_at": AGO, "draining_since": AGO}, "STOPPED", "UNAVAILABLE"),
    "may not be called": Case(("file",), {"blocked_reason": "ENDPOINT_NOT_ALLOWED"}, "ENDPOINT_NOT_ALLOWED"),
    "has no free thread": Case(("file",), {"capacity": 2, "abandoned": 2}, "NO_FREE_THREAD"),
    "has abandoned more than it can run": Case(("file",), {"capacity": 2, "abandoned": 9}, "NO_FREE_THREAD"),
    "has one free thread": Case(("file",), {"capacity": 2, "abandoned": 1}, None),
}
SPEAKING: dict[str, Case] = {
    "is silent": Case(("file",), {"alive_until": AGO}, "SILENT", "STALE"),
    "speaks another protocol": Case(("file",), {"protocol": "sqs"}, "PROTOCOL_NOT_SUPPORTED"),
}
CASES = {f"{protocol} {name}": (protocol, case) for name, case in NAMED.items() for protocol in ("celery", "rest")} | {
    f"celery {name}": ("celery", case) for name, case in SPEAKING.items()
}


@pytest.mark.parametrize("name", CASES)
def test_everything_that_asks_for_a_worker_gets_the_same_answer(name: str) -> None:
    protocol, case = CASES[name]
    owner = making.tenant()
    release = pinning(owner, *case.kinds)
    members = {"protocol": protocol, "capability_checked_at": timezone.now(), **case.worker}
    if members.get("artifact_digest") == "FILE":
        members["artifact_digest"] = release.artifacts.get(artifact_id="file").digest
    making.worker(release, "other", stopped_at=AGO)
    making.worker(release, "first")
    making.execution(owner)
    with as_owner():
        Worker.objects.filter(worker_id="first").delete()
    worker = making.worker(release, **members)

    found = WorkerEligibility.objects.get(pk=worker.pk)
    runs = case.reason is None
    assert (found.reason, found.state, found.admits) == (case.reason, case.state, runs)
    assert (found.release_id == release.pk) == (case.reason != "RELEASE_UNKNOWN")
    assert (found.artifact_fits is False) == (case.reason == "OTHER_ARTIFACT")
    if runs:
        require_healthy(release)
    else:
        with pytest.raises(WorkerUnavailable):
            require_healthy(release)
    facts = [fact.label for fact in impact.facts(release, None)]
    assert ("Healthy workers that host it" in facts) == runs
    assert (why_stranded(release.pk) is None) == runs
    waiting = stranded([owner.pk])
    assert [each.reasons for each in waiting] == ([] if runs else [_expected(case.reason)])
    claims = making.claimed(owner)
    assert len(claims) == runs
    assert {claim.rest_worker for claim in claims} <= {found.lease_owner if protocol == "rest" else None}


def _expected(reason: str | None) -> list[str]:
    return ["STOPPED"] if reason in ("RELEASE_UNKNOWN", "STOPPED") else [str(reason)]


def test_a_silent_rest_worker_lets_nothing_in_and_runs_what_was_accepted() -> None:
    """Wire protocol D.8: lifecycle counts at submission, and never at dispatch."""
    owner, release = making.ready()
    making.execution(owner)
    Worker.objects.filter(tenant=owner).update(protocol="rest", alive_until=AGO)
    found = WorkerEligibility.objects.get(release=release)
    assert (found.state, found.reason, found.admits) == ("STALE", None, False)
    with pytest.raises(WorkerUnavailable, match="current states: worker-1=STALE"):
        require_healthy(release)
    assert stranded([owner.pk]) == []
    assert len(making.claimed(owner)) == 1


def test_next_to_the_right_rest_worker_one_with_another_digest_gets_nothing() -> None:
    owner = making.tenant()
    release = pinning(owner, "file", "image")
    right = making.worker(
        release, "right", capacity=3, protocol="rest", artifact_digest=IMAGE, capability_checked_at=timezone.now()
    )
    making.worker(release, "wrong", capacity=30, protocol="rest", artifact_digest=OTHER)
    for number in range(6):
        making.execution(owner, f"k{number}")
    making.claimed(owner)
    owners = Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True)
    assert list(owners) == [f"rest:{right.pk}:right"] * 3


def test_what_a_rest_worker_answers_is_judged_as_what_was_registered_for_it() -> None:
    release = pinning(making.tenant(), "file", "image")
    file = release.artifacts.get(artifact_id="file").digest
    for number, (digest, artifact_id) in enumerate(
        (digest, artifact_id) for digest in ("", file, IMAGE, OTHER) for artifact_id in ("", "file", "image", "other")
    ):
        worker = making.worker(release, f"w{number}", artifact_digest=digest, artifact_id=artifact_id)
        refused = WorkerEligibility.objects.get(pk=worker.pk).reason == "OTHER_ARTIFACT"
        assert (artifact_conflict(release, artifact_id, digest) is not None) == refused, (digest, artifact_id)


@pytest.mark.parametrize("workers", [1, 300])
def test_the_check_at_submission_is_one_query_however_many_workers_there_are(workers: int) -> None:
    owner, release = making.ready()
    for number in range(workers):
        making.worker(release, f"w{number}", artifact_digest=release.artifacts.get().digest)
    release = Release.objects.select_related("pipeline__tenant").get(pk=release.pk)
    with CaptureQueriesContext(connection) as queries:
        require_healthy(release)
    assert len(queries) == 1
    Worker.objects.filter(tenant=owner).update(stopped_at=AGO)
    with CaptureQueriesContext(connection) as queries, pytest.raises(WorkerUnavailable):
        require_healthy(release)
    assert len(queries) == 1


def test_a_host_whose_clock_is_wrong_sees_what_every_other_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are alive by the database's clock; the web host's may go as it likes."""
    owner = making.tenant()
    release = making.active(owner)
    take_heartbeat(owner, release.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), timezone.now())
    for error in (-timedelta(hours=1), timedelta(hours=1)):
        wrong = timezone.now() + error
        monkeypatch.setattr("django.utils.timezone.now", lambda wrong=wrong: wrong)
        require_healthy(release)
        assert WorkerEligibility.objects.get(release=release).state == "HEALTHY"
        monkeypatch.undo()


def test_a_submission_is_told_that_no_thread_is_free() -> None:
    _, release = making.ready()
    Worker.objects.update(capacity=2, abandoned=2)
    with pytest.raises(WorkerUnavailable, match="current states: worker-1=NO_FREE_THREAD"):
        require_healthy(release)
    found = {fact.label: fact.value for fact in impact.facts(release, None)}
    assert found["Workers without a free thread"].endswith(": worker-1")
