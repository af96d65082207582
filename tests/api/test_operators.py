import uuid
from typing import Any

import pytest

from executions.models import Execution, Hold, Worker
from executions.transports.rest import may_call
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.endpoints import REST_WORKER
from tests.api.tenant_api import Caller
from tests.cases import cases
from tests.raw_sql import rows, unchanged
from wire.messages.celery_messages import StepReport
from wire.messages.step_reports import StepLine

PIPELINE = f"pipelines/{making.PIPELINE}"
WHY = {"reason": "broken"}


DIFFERENT = {name: str(uuid.uuid4()) for name in ("questionId", "interactionId")}


@pytest.fixture(scope="module")
def manager(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE, Scope.ACTIVATE)


@cases(
    ("act", "body", "status", "code"),
    *(("redrive", {"expectedVersion": version}, 409, "VERSION_MISMATCH") for version in (1, 2**63 - 1)),
    *(
        ("redrive", {"answer": {name: str(uuid.uuid4()), "response": 1}}, 403, "SCOPE_MISSING")
        for name in ("questionId", "interactionId")
    ),
    ("redrive", {"answer": {"response": 1}}, 400, "INVALID_REQUEST"),
    ("redrive", {"answer": {**DIFFERENT, "response": 1}}, 400, "INVALID_REQUEST"),
    ("cancel", {}, 409, "CANCEL_REFUSED"),
    ("pause", WHY, 409, "PAUSE_REFUSED"),
    ("resubmit", {"expectedVersion": 1}, 409, "VERSION_MISMATCH"),
    ("resubmit", {"from": "checkpoint"}, 409, "CHECKPOINT_MISSING"),
)
def test_refused_acts(manager: Caller, dead: list[Execution], act: str, body: Any, status: int, code: str) -> None:
    with unchanged():
        refused = manager.post(f"executions/{dead[0].pk}/{act}", body, status)
    assert refused["code"] == code
    if status == 409 and code != "CHECKPOINT_MISSING":
        assert {"currentVersion": 2, "executionStatus": "DLQ"}.items() & refused.items()


def test_an_execution_is_paused_and_resumed(manager: Caller, owner: Tenant) -> None:
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    path = f"executions/{manager.post('executions', submission, 202)['executionId']}"
    hold = manager.post(f"{path}/pause", WHY, 201)
    named = {"pipelineId": making.PIPELINE, "releaseVersion": "1.0", "executionId": path.removeprefix("executions/")}
    since = Hold.objects.get().started_at.isoformat().replace("+00:00", "Z")
    who = {"since": since, "by": f"token:{manager.token}", "reason": "broken", "refusesSubmissions": False}
    assert hold == {**named, **who, **dict.fromkeys(("resumedAt", "resumedBy", "resumeReason"))}
    assert manager.post(f"{path}/pause", {"reason": "again"}) == hold
    for shown in (manager.get(path), manager.get("executions")["items"][0], manager.post("executions", submission)):
        assert shown["paused"] == {name: hold[name] for name in ("since", "by", "reason")}
    ended = manager.post(f"{path}/resume")
    assert ended["resumedAt"] > ended["since"]
    assert (ended["resumedBy"], ended["resumeReason"]) == (hold["by"], "")
    assert manager.get(path)["paused"] is manager.get("executions")["items"][0]["paused"] is None
    assert manager.post(f"{path}/resume", WHY, 409)["code"] == "NOT_PAUSED"
    counts = manager.post(f"pipelines/{making.PIPELINE}/pause", WHY, 201)["executionsByStatus"]
    assert counts == {"QUEUED": 1, "RUNNING": 0, "WAIT_RETRY": 0, "WAITING_EXTERNAL": 0}


def test_the_new_execution_and_the_old_one_name_each_other(manager: Caller, owner: Tenant) -> None:
    """The release 1.1 was active before and has a worker."""
    [finished] = making.dead(owner, "key")
    making.worker(making.replaced(making.registered(owner, "1.1")), "worker-1.1")
    path = f"executions/{finished.pk}"
    body = {"reason": "fixed", "releaseVersion": "1.1", "input": {"n": 2}, "operationKey": "k", "expectedVersion": 2}
    new = manager.post(f"{path}/resubmit", body, 202)
    assert (new["status"], new["pin"]["releaseVersion"], new["version"]) == ("QUEUED", "1.1", 0)
    assert (new["resubmittedFrom"], new["resubmittedAs"]) == (str(finished.pk), [])
    assert (new["idempotencyKey"], new["businessKey"]) == (f"resubmit:{finished.pk}:k", "key")
    assert manager.get(f"executions/{new['executionId']}") == new
    old = manager.get(path)
    assert (old["status"], old["pin"]["releaseVersion"], old["resubmittedFrom"]) == ("DLQ", "1.0", None)
    [link] = old["resubmittedAs"]
    assert link.pop("createdAt")
    assert link == {
        **{"executionId": new["executionId"], "releaseVersion": "1.1", "status": "QUEUED", "edited": True},
        **{"reason": "fixed", "actor": f"token:{manager.token}"},
        **dict.fromkeys(("checkpointStep", "items", "campaignId")),
    }
    new_ones = manager.get(f"executions?resubmittedFrom={finished.pk}")["items"]
    assert [row["executionId"] for row in new_ones] == [new["executionId"]]
    assert manager.get(f"executions?resubmittedFrom={uuid.uuid4()}")["items"] == []
    both = dict.fromkeys([new["executionId"], str(finished.pk)], "key")
    for query in ("businessKey=key", "prefix=key"):
        listed = manager.get(f"executions?{query}")["items"]
        assert {row["executionId"]: row["businessKey"] for row in listed} == both
    [letter] = manager.get(f"dead-letters?executionId={finished.pk}")["items"]
    assert letter["businessKey"] == "key"
    with unchanged():
        assert manager.post(f"{path}/resubmit", body, 202) == new, "the key is the same"
        refused = manager.post(f"{path}/resubmit", {**body, "input": 1}, 409)
    assert (refused["code"], refused["executionId"]) == ("RESUBMIT_KEY_REUSED", new["executionId"])
    for act, accepted in ("resubmit", 202), ("redrive", 200):
        refused = manager.post(f"{path}/{act}", {}, 409)
        assert (refused["code"], refused["executionId"]) == ("EXECUTION_REPLACED", new["executionId"])
        manager.post(f"{path}/{act}", {"allowReplaced": True}, accepted)


# --- workers ---

PATH = f"workers/{making.PIPELINE}/worker-1"
ORIGIN = "http://worker.example"
WORKER = {**REST_WORKER, "endpoint": f"{ORIGIN}/"}


def test_a_rest_worker_is_registered_kept_alive_and_drained(manager: Caller) -> None:
    made = manager.post("workers", WORKER)
    assert (made["protocol"], made["endpoint"], made["state"]) == ("rest", WORKER["endpoint"], "HEALTHY")
    assert made["pin"] == {name: WORKER[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    assert made in manager.get("workers")["items"]
    path = f"workers/{making.PIPELINE}/rest-1"
    making.silence(Worker.objects.get(worker_id="rest-1"))
    assert manager.get("workers?state=STALE")["items"][0]["workerId"] == "rest-1"
    states = [manager.post(f"{path}/{act}")["state"] for act in ("heartbeat", "drain", "heartbeat", "undrain", "drain")]
    assert states == ["HEALTHY", "DRAINING", "DRAINING", "HEALTHY", "DRAINING"]
    assert manager.post("workers", WORKER)["state"] == "HEALTHY"


INVALID, REFUSED = "WORKER_ENDPOINT_INVALID", "WORKER_ENDPOINT_REFUSED"


@cases(
    ("endpoint", "code", "errors"),
    (f"{ORIGIN}\\@other", INVALID, ["NOT_A_URL"]),
    ("http://user:password@worker.example", INVALID, ["HAS_USER_INFO"]),
    (f"{ORIGIN}/a?b#c", INVALID, ["HAS_PATH", "HAS_QUERY", "HAS_FRAGMENT"]),
    ("https://worker.example", REFUSED, None),
)
def test_a_forbidden_endpoint_is_rejected(manager: Caller, endpoint: str, code: str, errors: list[str] | None) -> None:
    refused = manager.post("workers", {**WORKER, "endpoint": endpoint}, 422)
    assert refused["code"] == code
    if errors is not None:
        expected = [("endpoint", f"ENDPOINT_{error}") for error in errors]
        assert [(error["field"], error["code"]) for error in refused["errors"]] == expected
    assert not Worker.objects.filter(worker_id="rest-1").exists()
    assert not may_call(endpoint)


def test_a_registration_beyond_the_limit_or_of_a_celery_worker_is_refused(manager: Caller, settings: Any) -> None:
    before = rows(Worker)
    assert manager.post(f"{PATH}/heartbeat", None, 409)["code"] == "WORKER_BEATS_ITSELF"
    assert manager.post("workers", {**WORKER, "workerId": "worker-1"}, 409)["code"] == "WORKER_BEATS_ITSELF"
    settings.MAX_TENANT_WORKERS = 1
    assert manager.post("workers", WORKER, 409)["code"] == "WORKER_LIMIT_REACHED"
    assert rows(Worker) == before


LINE: StepLine = (1_800_000_000_000, "INFO", 0, 3, "rows 4")


def test_rest_shows_progress_to_all_and_texts_only_to_those_who_may_see_payloads(
    owner: Tenant, manager: Caller
) -> None:
    execution: Execution = making.execution(owner, "reported")
    [claim] = making.claimed(owner)
    path = f"executions/{execution.pk}"
    reader = Caller(owner, Scope.READ)
    assert (manager.get(path)["progress"], manager.get(f"{path}/log")["lines"]) == (None, [])
    report = StepReport(done=2, total=3, message="row 2", lines=[LINE])
    making.record(making.outcome_of(claim, report=report))
    shown, hidden = manager.get(path)["progress"], reader.get(path)["progress"]
    assert (shown["done"], shown["total"], shown["message"], hidden["message"]) == (2, 3, "row 2", None)
    [line] = manager.get(f"{path}/log")["lines"]
    step = {"stepIndex": 0, "stepName": line["stepName"], "attempt": 0, "item": 3}
    assert line == {"at": "2027-01-15T08:00:00Z", "level": "INFO", "text": "rows 4", **step}
    assert reader.get(f"{path}/log", 403)["code"] == "SCOPE_MISSING"
