"""`/tpf/admin`: activation, workers and re-drive (wire protocol B.2, B.3)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from executions.models import Execution, Worker, WorkerEvent
from executions.workers.worker_gate import START
from interop.admin import VERDICT_WAIT_SECONDS
from releases.activation import policy
from releases.activation.retirement import retire
from releases.activation.revocation import revoke
from releases.models import Activation, Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import Flow
from tests.interop.client import call, ok, refused, switch_on
from tests.interop.registering import PIPELINE, base, register, written
from wire.messages.limits import LONGEST_WORKER_ID

pytestmark = pytest.mark.django_db
WORKER = {"workerId": "w-1", "contractVersion": "c", "releaseVersion": "sha256:r", "protocol": " REST "}


def test_releases_are_activated_and_rolled_back(root: Path, owner: Tenant) -> None:
    assert refused(call("GET", f"{base(owner)}/releases/active")) == (404, "")
    for version in ("sha256:one", "sha256:two"):
        assert register(owner, written(root, version)).status_code == 200
    assert refused(call("POST", f"{base(owner)}/releases/sha256:three/activate")) == (404, "")
    first = ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    assert (first["status"], first["releaseVersion"]) == ("ACTIVE", "sha256:one")
    assert first["activatedAtEpochMs"] == first["updatedAtEpochMs"] > 0
    assert ok("GET", f"{base(owner)}/releases/active") == first
    ok("POST", f"{base(owner)}/releases/sha256:two/activate")
    listed = ok("GET", f"{base(owner)}/releases")
    assert [(each["releaseVersion"], each["status"]) for each in listed] == [
        ("sha256:one", "REGISTERED"),
        ("sha256:two", "ACTIVE"),
    ]
    assert [each["activatedAtEpochMs"] > 0 for each in listed] == [False, True]
    back = ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    assert back["status"] == "ACTIVE"
    one = ok("GET", f"{base(owner)}/releases/sha256:one")
    assert (one["status"], one["activatedAtEpochMs"]) == ("ACTIVE", back["activatedAtEpochMs"])
    assert refused(call("GET", f"{base(owner)}/releases/sha256:none")) == (404, "")
    assert ok("GET", f"{base(owner)}/releases/sha256%3Aone") == one


def test_an_activation_without_a_worker_is_accepted_unless_the_policy_changes(
    root: Path, owner: Tenant, settings: Any
) -> None:
    """Clients of the framework activate a release before its workers start."""
    settings.REST_WORKER_ORIGINS = ["http://w:1"]
    register(owner, written(root))
    path = f"{base(owner)}/releases/sha256:abc/activate"
    assert ok("POST", path)["status"] == "ACTIVE"
    pipeline = Pipeline.objects.select_related("tenant").get(tenant=owner)
    assert pipeline.worker_gate == "warn"
    policy.change(pipeline, {"workerGate": "require"}, actor="user:ann")
    register(owner, written(root))
    status, text = refused(call("POST", path))
    assert (status, Activation.objects.filter(pipeline=pipeline).count()) == (409, 1)
    assert text.startswith("No worker may run release 'sha256:abc': No worker lifecycle record for this release.")
    assert START in text
    worker = {**WORKER, "contractVersion": making.contract()["contractVersion"], "releaseVersion": "sha256:abc"}
    ok("POST", f"{base(owner)}/workers/register", {**worker, "endpoint": "http://w:1"})
    Worker.objects.update(capability_checked_at=timezone.now(), capability_error="")
    assert ok("POST", path)["status"] == "ACTIVE"


def test_a_release_whose_bytes_are_missing_is_not_activated(root: Path, owner: Tenant) -> None:
    record = register(owner, written(root)).json()
    Path(record["primaryArtifactUri"].removeprefix("file://")).unlink()
    status, text = refused(call("POST", f"{base(owner)}/releases/sha256:abc/activate"))
    assert (status, "not in the artifact store" in text) == (409, True)


def test_a_worker_registers_sends_heartbeats_drains_and_returns(root: Path, owner: Tenant, settings: Any) -> None:
    made = ok("POST", f"{base(owner)}/workers/register", {**WORKER, "endpoint": "http://w:1 ", "more": 1})
    moment = made.pop("registeredAtEpochMs")
    assert made.pop("lastHeartbeatAtEpochMs") == moment
    assert made == {
        "tenantId": owner.slug,
        "pipelineId": PIPELINE,
        "contractVersion": "c",
        "releaseVersion": "sha256:r",
        "workerId": "w-1",
        "protocol": "rest",
        "endpoint": "http://w:1",
        "artifactId": "",
        "artifactDigest": "",
        "state": "HEALTHY",
        "drainingSinceEpochMs": 0,
    }
    making.silence(Worker.objects.get(worker_id="w-1"))
    assert [each["state"] for each in ok("GET", f"{base(owner)}/workers")] == ["STALE"]
    settings.REST_WORKER_STALE_SECONDS = 0
    assert ok("POST", f"{base(owner)}/workers/w-1/heartbeat")["state"] == "HEALTHY"
    assert Worker.objects.get(worker_id="w-1").alive_until is None
    settings.REST_WORKER_STALE_SECONDS = 120
    assert ok("POST", f"{base(owner)}/workers/w-1/heartbeat")["state"] == "HEALTHY"
    drained = ok("POST", f"{base(owner)}/workers/w-1/drain")
    assert (drained["state"], drained["drainingSinceEpochMs"] > 0) == ("DRAINING", True)
    beaten = ok("POST", f"{base(owner)}/workers/w-1/heartbeat")
    assert (beaten["state"], beaten["drainingSinceEpochMs"]) == ("DRAINING", drained["drainingSinceEpochMs"])
    assert ok("POST", f"{base(owner)}/workers/register", WORKER)["state"] == "HEALTHY"
    causes = WorkerEvent.objects.filter(worker__worker_id="w-1", worker__tenant=owner).order_by("id")
    assert [event.data["cause"] for event in causes] == ["REGISTERED", "OPERATOR_DRAINED", "REGISTERED"]


def test_a_worker_beyond_the_limit_is_not_registered(root: Path, owner: Tenant, settings: Any) -> None:
    settings.MAX_TENANT_WORKERS = 1
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    status, text = refused(call("POST", f"{base(owner)}/workers/register", {**WORKER, "workerId": "w-2"}))
    assert status == 409
    assert text.startswith("WORKER_LIMIT_REACHED")


def test_workers_are_listed_by_what_they_host(root: Path, owner: Tenant) -> None:
    for number, version in enumerate(("sha256:r", "sha256:r", "sha256:q")):
        body = {**WORKER, "workerId": f"w-{number}", "releaseVersion": version}
        ok("POST", f"{base(owner)}/workers/register", body)

    def ids(query: str) -> list[str]:
        return [each["workerId"] for each in ok("GET", f"{base(owner)}/workers{query}")]

    assert ids("?releaseVersion=sha256:r&contractVersion=%20") == ["w-0", "w-1"]
    assert ids("?contractVersion=c") == ["w-0", "w-1", "w-2"]
    assert ids("?contractVersion=d") == []
    assert refused(call("POST", f"{base(owner)}/workers/nobody/heartbeat")) == (404, "")
    assert refused(call("POST", f"{base(owner)}/workers/nobody/drain")) == (404, "")


LONGEST = "w" * LONGEST_WORKER_ID


@cases(
    ("body", "text"),
    [
        *((None, "request is required"), (b"null", "request is required")),
        *(
            ({**WORKER, name: value}, f"{name} is required")
            for name in ("workerId", "contractVersion", "releaseVersion", "protocol")
            for value in (None, "", "  ")
        ),
        ({**WORKER, "workerId": f"{LONGEST}w"}, "workerId"),
    ],
)
def test_a_worker_registration_has_its_members_within_bounds(root: Path, owner: Tenant, body: Any, text: str) -> None:
    status, found = refused(call("POST", f"{base(owner)}/workers/register", body))
    assert (status, text in found) == (400, True)
    assert not Worker.objects.exists()


def test_the_longest_worker_id_is_accepted(root: Path, owner: Tenant) -> None:
    assert ok("POST", f"{base(owner)}/workers/register", {**WORKER, "workerId": LONGEST})["workerId"] == LONGEST


def test_a_failed_execution_is_redriven(root: Path) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    path = f"admin/tenants/{owner.slug}/executions"
    version = spent.version
    message = f"Execution {spent.pk} version mismatch: expected 99 but current version is {version}"
    assert refused(call("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": 99})) == (409, message)
    before: dict[str, Any] = {**Execution.objects.values().get(pk=spent.pk)}
    made = ok("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": version, "reason": "x" * 200})
    after: dict[str, Any] = {**Execution.objects.values().get(pk=spent.pk)}
    # Only the status, errors, counters and timestamps change. Input, step, progress, pin and key do not.
    may_change = {"next_due_at", "updated_at"}  # both are the time of the transaction
    assert {name for name in before if before[name] != after[name]} - may_change == {
        *("status", "version", "attempt", "budget_start", "error_code", "error_message", "finished_at"),
        *("last_transition_key", "event_count"),
    }
    assert (after["error_code"], after["error_message"], after["lease_token"]) == (None, None, None)
    assert made.pop("updatedAtEpochMs") > 0
    assert made == {
        "tenantId": owner.slug,
        "executionId": str(spent.pk),
        "previousStatus": "DLQ",
        "status": "QUEUED",
        "version": version + 1,
        "currentStepIndex": 0,
        "attempt": 1,
        "pipelineId": PIPELINE,
        "contractVersion": spent.contract_version,
        "releaseVersion": "1.0",
    }
    assert len(spent.events.get(kind="REDRIVEN").data["reason"]) == 80
    message = f"Execution {spent.pk} cannot be re-driven from status QUEUED"
    assert refused(call("POST", f"{path}/{spent.pk}/redrive")) == (409, message)


def test_a_non_retryable_failure_is_redriven_only_with_allow_failed(root: Path) -> None:
    owner, _ = making.ready()
    [failed] = making.dead(owner, "failed", retryable=False)
    path = f"admin/tenants/{owner.slug}/executions/{failed.pk}/redrive"
    message = f"Execution {failed.pk} cannot be re-driven from status FAILED"
    assert refused(call("POST", path, {"allowFailed": False, "expectedVersion": 99})) == (409, message)
    assert ok("POST", path, {"allowFailed": True})["previousStatus"] == "FAILED"


def test_a_redrive_on_a_revoked_or_retired_release_is_refused_with_a_text(root: Path) -> None:
    owner, release = making.ready()
    [spent] = making.dead(owner, "spent")
    making.active(owner, "2.0")
    path = f"admin/tenants/{owner.slug}/executions/{spent.pk}/redrive"
    before = Execution.objects.values().get(pk=spent.pk)
    with transaction.atomic():
        revoke(release, actor="user:ann", reason="leaked")
        message = f"Execution {spent.pk} is pinned to release '1.0', which is revoked: leaked"
        assert refused(call("POST", path)) == (409, message)
        transaction.set_rollback(True)
    release.refresh_from_db()
    retire(release, actor="user:ann", reason="replaced", give_up_failures=True)
    assert refused(call("POST", path)) == (409, f"Release '1.0' is retired, so execution {spent.pk} cannot run again.")
    assert Execution.objects.values().get(pk=spent.pk) == before
    assert refused(call("GET", f"{base(owner)}/releases/1.0"))[0] == 404
    assert [each["releaseVersion"] for each in ok("GET", f"{base(owner)}/releases")] == ["2.0"]


def test_an_invalid_redrive_request_is_rejected(root: Path) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    path = f"admin/tenants/{owner.slug}/executions"
    for body in ({"expectedVersion": "1"}, {"expectedVersion": True}, {"allowFailed": "yes"}, {"reason": 1}):
        assert call("POST", f"{path}/{spent.pk}/redrive", body).status_code == 400
    for unknown in ("nonsense", "00000000-0000-0000-0000-000000000000"):
        assert refused(call("POST", f"{path}/{unknown}/redrive")) == (404, f"Execution not found: {unknown}")


# --- what is rejected or hidden ---


def test_a_revoked_release_is_neither_listed_nor_activated_nor_registered_again(root: Path, owner: Tenant) -> None:
    path = written(root)
    assert register(owner, path).status_code == 200
    release = Release.objects.get(pipeline__tenant=owner)
    revoke(release, actor="user:ada", reason="It is broken.")
    version = release.release_version
    assert ok("GET", f"{base(owner)}/releases") == []
    assert refused(call("GET", f"{base(owner)}/releases/{version}")) == (404, "")
    assert refused(call("POST", f"{base(owner)}/releases/{version}/activate")) == (404, "")
    assert refused(register(owner, path)) == (409, f"Release {version} is REVOKED")


@cases("host", ["elsewhere", "127.0.0.1"])
def test_an_artifact_uri_of_another_host_is_rejected(root: Path, owner: Tenant, host: str) -> None:
    path = written(root, uri=f"file://{host}{root}/app.jar")
    assert refused(register(owner, path)) == (400, "Release JAR artifact must point to a readable local file")


def test_a_registration_that_fails_leaves_no_staged_file(root: Path, owner: Tenant, settings: Any) -> None:
    path = written(root)
    document = json.loads(path.read_text())
    large = making.archive(making.contract(), code="x" * 100_000)
    (root / "large.jar").write_bytes(large)
    (first,) = document["artifacts"]
    more = {"artifactId": "large", "uri": str(root / "large.jar"), "digest": making.digest_of(large)}
    path.write_text(json.dumps({**document, "artifacts": [first, {**first, **more}]}))
    settings.MAX_ARTIFACT_BYTES = 50_000
    before = set(settings.ARTIFACT_ROOT.rglob("*"))
    status, text = refused(register(owner, path))
    assert (status, text.startswith("Failed to inspect release artifact")) == (400, True), text
    assert {file for file in set(settings.ARTIFACT_ROOT.rglob("*")) - before if file.is_file()} == set()


def test_a_worker_drains_since_the_first_request(root: Path, owner: Tenant) -> None:
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    first, second = timezone.now().replace(microsecond=0), timezone.now()
    for by_itself, by_operator in ((first, second), (second, first)):
        Worker.objects.filter(tenant=owner).update(draining_since=by_itself, drained_by_operator_at=by_operator)
        (shown,) = ok("GET", f"{base(owner)}/workers")
        assert shown["drainingSinceEpochMs"] == int(first.timestamp() * 1000)


def test_a_registration_of_a_worker_waits_for_the_verdict_of_its_check(flow: Flow, settings: Any) -> None:
    switch_on(settings)
    address = f"admin/tenants/{flow.owner.slug}/pipelines/{flow.release.pipeline.pipeline_id}/workers/register"
    body = {
        "workerId": "w-new",
        "contractVersion": flow.release.contract_version,
        "releaseVersion": flow.release.release_version,
        "protocol": "rest",
        "endpoint": flow.worker.endpoint,
    }
    began = time.monotonic()
    ok("POST", address, body)
    assert time.monotonic() - began >= VERDICT_WAIT_SECONDS
