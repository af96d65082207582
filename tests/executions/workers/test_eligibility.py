"""One view decides which worker may run a release. Admission, claim, stranded work and pages all agree with it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.errors import WorkerUnavailable
from executions.models import Execution, Worker, WorkerEligibility
from executions.transports.rest.capabilities import artifact_conflict
from executions.workers import hosts
from executions.workers.eligibility import require_healthy
from executions.workers.registry import take_heartbeat
from executions.workers.stranded import explained, stranded, why_stranded
from releases.activation.activation import activate
from releases.models import Release
from releases.registration.registrar import verify_release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner
from wire.messages.celery_messages import Heartbeat

pytestmark = pytest.mark.django_db
NOW = timezone.now()
AGO = NOW - timedelta(hours=1)
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
    "names the first of two files": Case(("file", "second"), {"artifact_digest": "FILE", "artifact_id": "file"}, None),
    "names the second of two files": Case(("second", "file"), {"artifact_digest": "FILE", "artifact_id": "file"}, None),
    "is of another release": Case(("file",), {"release_version": "9"}, "RELEASE_UNKNOWN"),
    "is of another contract": Case(("file",), {"contract_version": "x"}, "RELEASE_UNKNOWN"),
    "hosts its artifact": Case(("file",), {"code": "artifact"}, None),
    "hosts an image": Case(("image",), {"code": "image"}, None),
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
    "hosts a folder": Case(("file",), {"code": "source"}, "UNVERIFIED_CODE"),
    "hosts a folder and names its artifact": Case(
        ("file",), {"code": "source", "artifact_digest": "FILE"}, "UNVERIFIED_CODE"
    ),
    "speaks another protocol": Case(("file",), {"protocol": "sqs"}, "PROTOCOL_NOT_SUPPORTED"),
}
CASES = {f"{protocol} {name}": (protocol, case) for name, case in NAMED.items() for protocol in ("celery", "rest")} | {
    f"celery {name}": ("celery", case) for name, case in SPEAKING.items()
}


@cases("name", CASES)
def test_all_parts_of_the_coordinator_agree_on_the_eligibility_of_a_worker(name: str) -> None:
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
    named = hosts.hosts(release)
    assert named.eligible == ([worker.worker_id] if runs else [])
    assert (named.capacity > 0) == runs
    assert any(text.startswith("No healthy worker hosts it") for text in named.warnings) == (not runs)
    assert why_stranded(release.pk) == (None if runs else explained(_expected(case.reason)))
    waiting = stranded([owner.pk])
    assert [each.reasons for each in waiting] == ([] if runs else [_expected(case.reason)])
    claims = making.claimed(owner)
    assert len(claims) == runs
    assert {claim.protocol for claim in claims} <= {protocol}
    owners = Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True)
    assert set(owners) <= {found.lease_owner if protocol == "rest" else "dispatcher"}


def _expected(reason: str | None) -> list[str]:
    return ["STOPPED"] if reason in ("RELEASE_UNKNOWN", "STOPPED") else [str(reason)]


@cases("protocol", ["celery", "rest"])
def test_a_worker_of_another_release_admits_no_submissions(protocol: str) -> None:
    owner = making.tenant()
    earlier = making.active(owner, "1.0")
    making.worker(earlier, protocol=protocol, capability_checked_at=timezone.now())
    require_healthy(earlier)
    with pytest.raises(WorkerUnavailable, match="No worker lifecycle record for active release"):
        require_healthy(making.active(owner, "2.0"))


def test_a_silent_rest_worker_admits_no_submissions_and_runs_accepted_executions() -> None:
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


def test_a_rest_worker_with_another_digest_gets_no_work_of_the_release() -> None:
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


def test_a_worker_names_an_artifact_of_its_release_by_id_digest_or_both() -> None:
    """A REST worker's capability response follows the same rules as its registration."""
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
            assert found.admits == fits, (digest, artifact_id)
            assert found.reason == (None if fits else "OTHER_ARTIFACT")
            assert (artifact_conflict(release, artifact_id, digest) is None) == fits, (digest, artifact_id)


REASONS: dict[str, dict[str, Any]] = {
    "PROTOCOL_NOT_SUPPORTED": {"protocol": "sqs"},
    "STOPPED": {"stopped_at": AGO},
    "RELEASE_UNKNOWN": {"release_version": "9"},
    "OTHER_ARTIFACT": {"artifact_digest": OTHER},
    "UNVERIFIED_CODE": {"code": "source"},
    "DRAINED_BY_OPERATOR": {"drained_by_operator_at": AGO},
    "DRAINING": {"draining_since": AGO},
    "SILENT": {"alive_until": AGO},
    "ENDPOINT_NOT_ALLOWED": {"blocked_reason": "ENDPOINT_NOT_ALLOWED"},
    "NO_FREE_THREAD": {"capacity": 1, "abandoned": 1},
}
"""The changes that make a worker ineligible, in the order in which their reasons take precedence."""


def test_the_reason_with_the_higher_precedence_is_reported() -> None:
    worker = making.worker(pinning(making.tenant(), "image"))
    changed = {name for changes in REASONS.values() for name in changes}
    healthy = Worker.objects.values(*changed).get(pk=worker.pk)
    for position, (first, changes) in enumerate(REASONS.items()):
        for second in list(REASONS)[position:]:
            Worker.objects.filter(pk=worker.pk).update(**{**healthy, **REASONS[second], **changes})
            found = WorkerEligibility.objects.get(pk=worker.pk)
            assert (found.reason, found.admits) == (first, False), (first, second)


def test_a_worker_hosts_no_release_of_the_same_name_in_another_tenant_or_pipeline() -> None:
    """Their contracts and versions have the same names. Each pipeline also has a rejected release with these names."""
    owners, places = [making.tenant(), making.tenant()], []
    for owner in owners:
        for pipeline_id in (making.PIPELINE, "org.example.other"):
            contract = {**making.contract(pipeline_id), "contractVersion": "1"}
            data = making.archive(contract)
            rejected = making.upload(owner, making.descriptor(contract, data)).release
            verify_release(rejected.pk)
            release = making.verified(making.upload(owner, making.descriptor(contract, data), data).release)
            places.append((release, making.worker(release, protocol="rest")))
    rows = WorkerEligibility.objects.filter(worker__tenant__in=owners)
    found = {each.worker_id: (each.release_id, each.admits) for each in rows}
    assert found == {worker.pk: (release.pk, True) for release, worker in places}
    assert rows.count() == len(set(rows.values_list("lease_owner", flat=True))) == 4


def test_a_worker_with_hanging_threads_gets_only_what_its_other_threads_can_run() -> None:
    owner, _ = making.ready()
    Worker.objects.filter(tenant=owner).update(capacity=5, abandoned=3)
    for number in range(4):
        making.execution(owner, f"k{number}")
    assert len(making.claimed(owner)) == 2


@cases("workers", [1, 300])
def test_the_check_at_submission_is_one_query_for_any_number_of_workers(workers: int) -> None:
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


def test_a_web_host_with_a_wrong_clock_reports_the_same_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the database decides whether workers are alive, and not that of the web host."""
    owner = making.tenant()
    release = making.active(owner)
    take_heartbeat(owner, release.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), timezone.now())
    for error in (-timedelta(hours=1), timedelta(hours=1)):
        wrong = timezone.now() + error
        monkeypatch.setattr("django.utils.timezone.now", lambda wrong=wrong: wrong)
        require_healthy(release)
        assert WorkerEligibility.objects.get(release=release).state == "HEALTHY"
        monkeypatch.undo()


def test_a_submission_is_rejected_if_no_worker_has_a_usable_thread() -> None:
    _, release = making.ready()
    Worker.objects.update(capacity=2, abandoned=2)
    with pytest.raises(WorkerUnavailable, match="current states: worker-1=NO_FREE_THREAD"):
        require_healthy(release)
    [_, stuck] = hosts.warnings(release)
    assert stuck.startswith("Workers without a free thread")
    assert stuck.endswith(": worker-1")
