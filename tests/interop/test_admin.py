import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Worker, WorkerEvent
from governance.retirement.retirement import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.interop.client import base, call, ok, refused, register, written
from tests.interop.stored import VERSIONS, message
from tests.raw_sql import unchanged
from wire.messages.celery_messages import LONGEST_WORKER_ID

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
    assert [(release["releaseVersion"], release["status"]) for release in listed] == [
        ("sha256:one", "REGISTERED"),
        ("sha256:two", "ACTIVE"),
    ]
    assert [release["activatedAtEpochMs"] > 0 for release in listed] == [False, True]
    ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    release = ok("GET", f"{base(owner)}/releases/sha256:one")
    assert release["status"] == "ACTIVE"
    assert "awaitTransport" not in release["contract"]["steps"][0], "later clients refuse it"
    assert refused(call("GET", f"{base(owner)}/releases/sha256:none")) == (404, "")
    assert ok("GET", f"{base(owner)}/releases/sha256%3Aone") == release


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
    assert [worker["state"] for worker in ok("GET", f"{base(owner)}/workers")] == ["STALE"]
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


@cases("version", VERSIONS)
def test_a_failed_execution_is_redriven(root: Path, version: str) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    path = f"admin/tenants/{owner.slug}/executions"
    body = message(version, "request-redrive", expectedVersion=spent.version, reason="x" * 200)
    made = ok("POST", f"{path}/{spent.pk}/redrive", body)
    assert set(made) == set(message(version, "answer-redriven"))
    expected = {"previousStatus": "DLQ", "status": "QUEUED", "version": spent.version + 1, "attempt": 1}
    assert made.items() >= expected.items()
    assert (made["executionId"], made["releaseVersion"]) == (str(spent.pk), "1.0")
    assert (made.get("intent", "REPLAY"), made.get("targetCommandId")) == ("REPLAY", None)
    assert len(spent.events.get(kind="REDRIVEN").data["reason"]) == 80


def test_an_unknown_outcome_has_the_frameworks_code_and_is_redriven_only_with_allow_failed(root: Path) -> None:
    owner, _ = making.ready()
    [failed] = making.dead(owner, "failed", code="OUTCOME_UNKNOWN", retryable=False)
    result = ok("GET", f"control-plane/tenants/{owner.slug}/executions/{failed.pk}/result")
    assert (result["status"]["status"], result["status"]["errorCode"]) == ("FAILED", "REMOTE_OUTCOME_UNKNOWN")
    path = f"admin/tenants/{owner.slug}/executions/{failed.pk}/redrive"
    assert call("POST", path, {"allowFailed": False}).status_code == 409
    assert ok("POST", path, {"allowFailed": True, "targetCommandId": " "})["previousStatus"] == "FAILED"


RETRY = {"intent": "RETRY_FAILED_COMMAND", "allowFailed": True}
REISSUE = {"intent": "REISSUE_COMMAND", "targetCommandId": "c", "reason": "r", "expectedVersion": "{version}"}
NO_RETRY = "Pipeline control plane does not support deliberate Command retry redrive"
NO_REISSUE = "Pipeline control plane does not support targeted Command reissue"
OTHER_STATE = "Execution {id} cannot be re-driven from status "
OTHER_VERSION = "Execution {id} version mismatch: expected 99 but current version is "


@cases(
    ("state", "body", "status", "text"),
    [
        *(("DLQ", {"intent": intent}, 400, "") for intent in ("", "replay", "RETRY", 0, True, ["REPLAY"])),
        *(("DLQ", {**REISSUE, "expectedVersion": wrong}, 400, "") for wrong in ("1", True, 1.0)),
        *(("DLQ", wrong, 400, "") for wrong in ({"allowFailed": "yes"}, {"reason": 1})),
        *(("DLQ", {**body, "targetCommandId": "c"}, 400, "targetCommandId is only valid ") for body in ({}, RETRY)),
        ("DLQ", {**REISSUE, "expectedVersion": None}, 400, "REISSUE_COMMAND requires expectedVersion"),
        ("DLQ", {**REISSUE, "reason": " "}, 400, "REISSUE_COMMAND requires a nonblank reason"),
        ("DLQ", {**REISSUE, "targetCommandId": " "}, 400, "REISSUE_COMMAND requires targetCommandId"),
        ("DLQ", {**REISSUE, "allowFailed": True}, 400, "REISSUE_COMMAND does not accept allowFailed=true"),
        *((None, body, 404, "Execution not found: {id}") for body in (RETRY, REISSUE)),
        *(("FAILED", body, 409, f"{OTHER_STATE}FAILED") for body in ({**RETRY, "allowFailed": False}, REISSUE)),
        ("SUCCEEDED", RETRY, 409, f"{OTHER_STATE}SUCCEEDED"),
        ("FAILED", {"allowFailed": False, "expectedVersion": 99}, 409, f"{OTHER_STATE}FAILED"),
        *(
            (state, {**body, "expectedVersion": 99}, 409, OTHER_VERSION)
            for state, body in (("DLQ", {}), ("FAILED", RETRY))
        ),
        *((state, {**REISSUE, "expectedVersion": 99}, 409, OTHER_VERSION) for state in ("SUCCEEDED", "DLQ")),
        ("DLQ", RETRY, 409, "Deliberate Command retry requires an explicitly allowed FAILED execution"),
        ("DLQ", REISSUE, 409, "Command reissue requires a SUCCEEDED execution"),
        ("FAILED", RETRY, 501, NO_RETRY),
        ("SUCCEEDED", REISSUE, 501, NO_REISSUE),
    ],
)
def test_what_is_no_replay_is_refused_and_never_done_as_one(
    root: Path, owner: Tenant, state: str | None, body: dict[str, Any], status: int, text: str
) -> None:
    making.ready(owner)
    [made] = making.dead(owner, "k", retryable=state != "FAILED")
    if state == "SUCCEEDED":
        made = making.execution(owner)
        making.record(making.outcome_of(making.claimed(owner)[0]))
        made.refresh_from_db()
    sent = {**body, "expectedVersion": made.version} if body.get("expectedVersion") == "{version}" else body
    key = made.pk if state else uuid.uuid4()
    with unchanged():
        answer = refused(call("POST", f"admin/tenants/{owner.slug}/executions/{key}/redrive", sent))
    assert (answer[0], answer[1][: len(text.format(id=key))]) == (status, text.format(id=key))


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
