"""Awaits over real processes: a worker suspends, somebody answers, a worker goes on."""

import time
from datetime import datetime
from typing import Any

import requests

from embedded.valkey import Valkey
from tenancy.roles import Scope
from tests.e2e.conftest import Host
from tests.receiving import Receiver
from tests.running import RunningProduct, TenantInUse, eventually


def pending(tenant: TenantInUse, execution_id: str, count: int = 1, query: str = "") -> list[dict[str, Any]]:
    def asked() -> list[dict[str, Any]] | None:
        path = f"interactions?status=pending&executionId={execution_id}{query}"
        found: list[dict[str, Any]] = tenant.get(path)["items"]
        return found if len(found) == count else None

    return eventually(asked, what=f"{count} questions of {execution_id}")


def answer(tenant: TenantInUse, asked: dict[str, Any], response: Any, status: int = 200) -> Any:
    body = {"interactionId": asked["interactionId"], "response": response}
    answered = tenant.http.post(tenant.url("interactions/complete"), json=body)
    assert answered.status_code == status, answered.text
    return answered.json()


def kinds(tenant: TenantInUse, execution_id: str) -> list[str]:
    events = tenant.events(execution_id)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    return [event["kind"] for event in events]


def test_an_approval_takes_the_execution_on(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "approval")
    made = tenant.accepted("tests.approval", {"number": 4}, "k")["executionId"]
    [asked] = pending(tenant, made, query="&assignee=eva&group=finance&pipelineId=tests.approval")
    assert (asked["request"], asked["stepId"], asked["stepIndex"]) == ({"number": 8}, "ProcessApproveService", 1)
    parked = tenant.wait_for(made, "WAITING_EXTERNAL")
    assert (parked["version"], parked["currentStepIndex"]) == (2, 1)

    refused = answer(tenant, asked, {"accepted": "yes"}, 422)
    assert [error["field"] for error in refused["errors"]] == ["response.accepted"]
    only_answers = requests.post(
        tenant.url("interactions/complete"),
        json={"correlationId": asked["correlationId"], "response": {"accepted": True, "note": "fine"}},
        headers={"Authorization": f"Bearer {tenant.token([Scope.ANSWER], 'clerk')}"},
    )
    assert (only_answers.status_code, only_answers.json()["duplicate"]) == (200, False)
    ended = tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == {"text": "settled: fine"}
    # Wire protocol E.10: create, claim, park, answered, claim, succeed.
    assert ended["version"] == 5
    assert kinds(tenant, made) == [
        "SUBMITTED",
        "CLAIMED",
        "AWAITING",
        "AWAIT_COMPLETED",
        "CLAIMED",
        "SUCCEEDED",
    ]
    again = answer(tenant, asked, {"accepted": False})
    assert (again["duplicate"], again["response"], again["actor"]) == (
        True,
        {"accepted": True, "note": "fine"},
        "token:clerk",
    )
    assert tenant.execution(made)["version"] == 5


def test_a_rejection_is_the_pipelines_own_affair(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "approval")
    made = tenant.accepted("tests.approval", {"number": 4}, "k")["executionId"]
    answer(tenant, pending(tenant, made)[0], {"accepted": False, "note": "too dear"})
    ended = tenant.wait_for(made, "FAILED")
    assert ended["error"]["message"] == 'step "Settle": rejected: too dear'
    assert ended["attempt"] == 0


def test_without_an_answer_the_execution_fails_and_a_late_one_is_refused(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "hasty")
    made = tenant.accepted("tests.hasty", {"number": 1}, "k")["executionId"]
    ended = tenant.wait_for(made, "FAILED")
    [asked] = tenant.get(f"interactions?executionId={made}")["items"]
    assert ended["error"] == {
        "code": "AWAIT_TIMEOUT",
        "message": f"Await interaction timed out: {asked['interactionId']}",
        "traceback": "",
    }
    assert answer(tenant, asked, {"accepted": True}, 409)["code"] == "AWAIT_TIMEOUT"
    assert kinds(tenant, made) == ["SUBMITTED", "CLAIMED", "AWAITING", "AWAIT_TIMEOUT"]


def test_a_webhook_is_sent_until_it_is_received_and_answered_with_its_token(
    tenant: TenantInUse, host: Host, receiver: Receiver
) -> None:
    receiver.statuses = [500, 204]
    host(tenant, "booking")
    made = tenant.accepted("tests.booking", {"number": 7}, "k")["executionId"]
    eventually(lambda: len(receiver.requests) >= 2, what="the second sending")
    [asked] = pending(tenant, made)
    eventually(
        lambda: tenant.get(f"interactions/{asked['interactionId']}")["status"] == "DISPATCHED", what="the receipt"
    )
    sent = receiver.requests[-1].json
    assert (sent["requestPayload"], sent["executionId"]) == ({"number": 7}, made)
    assert sent["callback"]["completionUrl"] == f"{tenant.product.url}/api/v1/resume"
    assert tenant.execution(made)["status"] == "WAITING_EXTERNAL"

    body = {"resumeToken": sent["resumeToken"], "response": {"text": "booking 7"}, "actor": "erp"}
    tampered = requests.post(sent["callback"]["completionUrl"], json={**body, "resumeToken": body["resumeToken"][:-1]})
    assert (tampered.status_code, tampered.json()["code"]) == (400, "RESUME_TOKEN_INVALID")
    answered = requests.post(sent["callback"]["completionUrl"], json=body)
    assert (answered.status_code, answered.json()["actor"]) == (200, "resume-token:erp")
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == {"text": "filed booking 7"}


def test_a_webhook_that_nobody_receives_fails_the_execution(
    tenant: TenantInUse, host: Host, receiver: Receiver
) -> None:
    receiver.statuses = [503]
    host(tenant, "booking")
    made = tenant.accepted("tests.booking", {"number": 7}, "k")["executionId"]
    assert tenant.wait_for(made, "FAILED")["error"]["code"] == "WEBHOOK_UNDELIVERABLE"
    assert len(receiver.requests) == 3


def test_every_item_of_a_stream_is_answered_and_keeps_its_place(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "batch")
    made = tenant.accepted("tests.batch", {"number": 4}, "k")["executionId"]
    asked = sorted(pending(tenant, made, count=4), key=lambda item: int(item["itemIndex"]))
    assert [item["request"]["number"] for item in asked] == [0, 1, 2, 3]
    for place in (3, 1, 0, 2):
        assert tenant.execution(made)["status"] == "WAITING_EXTERNAL"
        answer(tenant, asked[place], {"accepted": place != 1, "note": f"n{place}"})
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == {"text": "n0,n2,n3"}


def test_a_stream_of_nothing_asks_nobody(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "batch")
    made = tenant.accepted("tests.batch", {"number": 0}, "k")["executionId"]
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == {"text": ""}


def test_a_timer_lets_a_stream_go_on_when_it_has_run_out(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "cooling")
    made = tenant.accepted("tests.cooling", {"number": 3}, "k")["executionId"]
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == [{"text": "warm 0"}, {"text": "warm 1"}, {"text": "warm 2"}]
    moments = {event["kind"]: datetime.fromisoformat(event["at"]) for event in tenant.events(made)}
    waited = (moments["AWAIT_COMPLETED"] - moments["AWAITING"]).total_seconds()
    assert 1 <= waited < 10


def test_an_answer_may_be_the_result(tenant: TenantInUse, host: Host) -> None:
    """The await comes last, with checkpoints on: no step is left, and the worker gives the answer back."""
    host(tenant, "verdict")
    made = tenant.accepted("tests.verdict", {"number": 1}, "k")["executionId"]
    answer(tenant, pending(tenant, made)[0], {"accepted": True, "note": "so be it"})
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.result(made) == {"accepted": True, "note": "so be it"}


def test_with_the_broker_down_an_answer_counts_and_takes_the_execution_on_when_it_returns(
    own_broker: tuple[RunningProduct, Valkey], host: Host, name: str
) -> None:
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        host(tenant, "approval")
        made = tenant.accepted("tests.approval", {"number": 1}, "k")["executionId"]
        [asked] = pending(tenant, made)
        valkey.stop()
        began = time.monotonic()
        assert not answer(tenant, asked, {"accepted": True, "note": "in the dark"})["duplicate"]
        assert time.monotonic() - began < 10
        # It is claimed, and given back as the broker does not take it.
        eventually(lambda: tenant.execution(made)["status"] == "QUEUED", what="the execution given back")
        valkey.start()
        tenant.wait_for(made, "SUCCEEDED", seconds=60)
        assert tenant.result(made) == {"text": "settled: in the dark"}
    finally:
        tenant.stop_workers()
