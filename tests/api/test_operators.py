import uuid
from typing import Any

import pytest

from executions.models import Execution, Hold
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import unchanged

PIPELINE = f"pipelines/{making.PIPELINE}"
WHY = {"reason": "broken"}


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE, Scope.ACTIVATE)


@cases(
    ("act", "body", "status", "code"),
    *(("redrive", {"expectedVersion": version}, 409, "VERSION_MISMATCH") for version in (1, 2**63 - 1)),
    ("redrive", {"reason": "x" * 1001}, 400, "INVALID_REQUEST"),
    ("redrive", {"answer": {"interactionId": str(uuid.uuid4()), "response": 1}}, 403, "SCOPE_MISSING"),
    ("cancel", {"allowFailed": True}, 400, "INVALID_REQUEST"),
    ("cancel", {}, 409, "CANCEL_REFUSED"),
    ("pause", WHY, 409, "PAUSE_REFUSED"),
    ("resubmit", {"expectedVersion": 1}, 409, "VERSION_MISMATCH"),
    ("resubmit", {"from": "checkpoint"}, 409, "CHECKPOINT_MISSING"),
)
def test_refused_acts(operator: Caller, dead: list[Execution], act: str, body: Any, status: int, code: str) -> None:
    with unchanged():
        refused = operator.post(f"executions/{dead[0].pk}/{act}", body, status)
    assert refused["code"] == code
    if status == 409 and code != "CHECKPOINT_MISSING":
        assert {"currentVersion": 2, "executionStatus": "DLQ"}.items() & refused.items()


def paused(hold: dict[str, Any]) -> dict[str, Any]:
    return {name: hold[name] for name in ("since", "by", "reason")}


def test_an_execution_is_paused_and_resumed(operator: Caller, owner: Tenant) -> None:
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    path = f"executions/{operator.post('executions', submission, 202)['executionId']}"
    hold = operator.post(f"{path}/pause", WHY, 201)
    assert hold == {
        "pipelineId": making.PIPELINE,
        "releaseVersion": "1.0",
        "executionId": path.removeprefix("executions/"),
        "since": Hold.objects.get().started_at.isoformat().replace("+00:00", "Z"),
        "by": f"token:{operator.token}",
        "reason": "broken",
        "refusesSubmissions": False,
        **dict.fromkeys(("resumedAt", "resumedBy", "resumeReason")),
    }
    assert operator.post(f"{path}/pause", {"reason": "again"}) == hold
    for shown in (operator.get(path), operator.get("executions")["items"][0], operator.post("executions", submission)):
        assert shown["paused"] == paused(hold)
    ended = operator.post(f"{path}/resume")
    assert ended["resumedAt"] > ended["since"]
    assert (ended["resumedBy"], ended["resumeReason"]) == (hold["by"], "")
    assert operator.get(path)["paused"] is operator.get("executions")["items"][0]["paused"] is None
    assert operator.post(f"{path}/resume", WHY, 409)["code"] == "NOT_PAUSED"


@pytest.fixture(scope="module")
def finished(owner: Tenant) -> Execution:
    """A failed execution on 1.0. The release 1.1 was active before and has a worker."""
    [execution] = making.dead(owner, "key")
    making.worker(making.replaced(making.registered(owner, "1.1")), "worker-1.1")
    return execution


def test_the_new_execution_and_the_old_one_name_each_other(operator: Caller, finished: Execution) -> None:
    path = f"executions/{finished.pk}"
    body = {"reason": "fixed", "releaseVersion": "1.1", "input": {"n": 2}, "operationKey": "k", "expectedVersion": 2}
    new = operator.post(f"{path}/resubmit", body, 202)
    assert (new["status"], new["pin"]["releaseVersion"], new["version"]) == ("QUEUED", "1.1", 0)
    assert (new["resubmittedFrom"], new["resubmittedAs"]) == (str(finished.pk), [])
    assert (new["idempotencyKey"], new["businessKey"]) == (f"resubmit:{finished.pk}:k", "key")
    assert operator.get(f"executions/{new['executionId']}") == new
    old = operator.get(path)
    assert (old["status"], old["pin"]["releaseVersion"], old["resubmittedFrom"]) == ("DLQ", "1.0", None)
    [link] = old["resubmittedAs"]
    assert link.pop("createdAt")
    assert link == {
        "executionId": new["executionId"],
        "releaseVersion": "1.1",
        "status": "QUEUED",
        "edited": True,
        "checkpointStep": None,
        "items": None,
        "reason": "fixed",
        "actor": f"token:{operator.token}",
        "campaignId": None,
    }
    found = operator.get(f"executions?resubmittedFrom={finished.pk}")["items"]
    assert [each["executionId"] for each in found] == [new["executionId"]]
    assert operator.get(f"executions?resubmittedFrom={uuid.uuid4()}")["items"] == []
    for query in ("businessKey=key", "prefix=key"):
        listed = operator.get(f"executions?{query}")["items"]
        assert {each["executionId"]: each["businessKey"] for each in listed} == dict.fromkeys(
            [new["executionId"], str(finished.pk)], "key"
        )
    assert [each["businessKey"] for each in operator.get(f"dead-letters?executionId={finished.pk}")["items"]] == ["key"]
    with unchanged():
        assert operator.post(f"{path}/resubmit", body, 202) == new, "the key is the same"
        refused = operator.post(f"{path}/resubmit", {**body, "input": 1}, 409)
    assert (refused["code"], refused["executionId"]) == ("RESUBMIT_KEY_REUSED", new["executionId"])
