"""`/tpf/admin`: activation, workers and re-drive (wire protocol B.2, B.3)."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from executions.models import Worker, WorkerEvent
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.interop.client import call, ok, refused
from tests.interop.registering import base, register, written
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
    assert ok("GET", f"{base(owner)}/releases/active") == first
    ok("POST", f"{base(owner)}/releases/sha256:two/activate")
    listed = ok("GET", f"{base(owner)}/releases")
    assert [(each["releaseVersion"], each["status"]) for each in listed] == [
        ("sha256:one", "REGISTERED"),
        ("sha256:two", "ACTIVE"),
    ]
    assert [each["activatedAtEpochMs"] > 0 for each in listed] == [False, True]
    ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    one = ok("GET", f"{base(owner)}/releases/sha256:one")
    assert one["status"] == "ACTIVE"
    assert refused(call("GET", f"{base(owner)}/releases/sha256:none")) == (404, "")
    assert ok("GET", f"{base(owner)}/releases/sha256%3Aone") == one


def test_a_worker_registers_sends_heartbeats_drains_and_returns(root: Path, owner: Tenant) -> None:
    made = ok("POST", f"{base(owner)}/workers/register", {**WORKER, "endpoint": "http://w:1 ", "more": 1})
    moment = made.pop("registeredAtEpochMs")
    assert made.pop("lastHeartbeatAtEpochMs") == moment
    assert made.items() >= {"tenantId": owner.slug, "workerId": "w-1", "protocol": "rest", "state": "HEALTHY"}.items()
    assert (made["endpoint"], made["drainingSinceEpochMs"]) == ("http://w:1", 0)
    assert ok("GET", f"{base(owner)}/workers?releaseVersion=sha256:q") == []
    too_long = {**WORKER, "workerId": "w" * (LONGEST_WORKER_ID + 1)}
    assert call("POST", f"{base(owner)}/workers/register", too_long).status_code == 400
    making.silence(Worker.objects.get(worker_id="w-1"))
    assert [each["state"] for each in ok("GET", f"{base(owner)}/workers")] == ["STALE"]
    assert ok("POST", f"{base(owner)}/workers/w-1/heartbeat")["state"] == "HEALTHY"
    drained = ok("POST", f"{base(owner)}/workers/w-1/drain")
    assert (drained["state"], drained["drainingSinceEpochMs"] > 0) == ("DRAINING", True)
    beaten = ok("POST", f"{base(owner)}/workers/w-1/heartbeat")
    assert (beaten["state"], beaten["drainingSinceEpochMs"]) == ("DRAINING", drained["drainingSinceEpochMs"])
    first = timezone.now().replace(microsecond=0)
    Worker.objects.filter(worker_id="w-1").update(
        draining_since=first - timedelta(hours=1), drained_by_operator_at=first
    )
    [shown] = ok("GET", f"{base(owner)}/workers")
    assert shown["drainingSinceEpochMs"] == int(first.timestamp() * 1000) - 3_600_000
    assert ok("POST", f"{base(owner)}/workers/register", WORKER)["state"] == "HEALTHY"
    causes = WorkerEvent.objects.filter(worker__worker_id="w-1", worker__tenant=owner).order_by("id")
    assert [event.data["cause"] for event in causes] == ["REGISTERED", "OPERATOR_DRAINED", "REGISTERED"]


def test_a_failed_execution_is_redriven(root: Path) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    path = f"admin/tenants/{owner.slug}/executions"
    version = spent.version
    message = f"Execution {spent.pk} version mismatch: expected 99 but current version is {version}"
    assert refused(call("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": 99})) == (409, message)
    for body in ({"expectedVersion": True}, {"allowFailed": "yes"}, {"reason": 1}):
        assert call("POST", f"{path}/{spent.pk}/redrive", body).status_code == 400
    made = ok("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": version, "reason": "x" * 200})
    assert made.items() >= {"previousStatus": "DLQ", "status": "QUEUED", "version": version + 1, "attempt": 1}.items()
    assert (made["executionId"], made["releaseVersion"]) == (str(spent.pk), "1.0")
    assert len(spent.events.get(kind="REDRIVEN").data["reason"]) == 80


def test_a_non_retryable_failure_is_redriven_only_with_allow_failed(root: Path) -> None:
    owner, _ = making.ready()
    [failed] = making.dead(owner, "failed", retryable=False)
    path = f"admin/tenants/{owner.slug}/executions/{failed.pk}/redrive"
    message = f"Execution {failed.pk} cannot be re-driven from status FAILED"
    assert refused(call("POST", path, {"allowFailed": False, "expectedVersion": 99})) == (409, message)
    assert ok("POST", path, {"allowFailed": True})["previousStatus"] == "FAILED"


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
