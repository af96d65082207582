"""Awaits with real processes: timeouts, timers and webhooks."""

from datetime import datetime

import requests

from tests.parts.product.conftest import Host, complete, kinds
from tests.receiving import Receiver
from tests.running import TenantInUse, eventually


def test_without_a_response_the_execution_fails_and_a_late_response_is_rejected(
    tenant: TenantInUse, host: Host
) -> None:
    host(tenant, "hasty")
    execution_id = tenant.accepted("tests.hasty", {"number": 1}, "k")["executionId"]
    ended = tenant.wait_for(execution_id, "FAILED")
    [interaction] = tenant.get(f"interactions?executionId={execution_id}")["items"]
    assert ended["error"] == {
        "code": "AWAIT_TIMEOUT",
        "message": f"Await interaction timed out: {interaction['interactionId']}",
        "traceback": "",
    }
    assert complete(tenant, interaction, {"accepted": True}, 409)["code"] == "AWAIT_TIMEOUT"
    assert kinds(tenant, execution_id) == ["SUBMITTED", "CLAIMED", "AWAITING", "AWAIT_TIMEOUT"]


def test_a_stream_continues_after_a_timer(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "cooling")
    execution_id = tenant.accepted("tests.cooling", {"number": 3}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == [{"text": "warm 0"}, {"text": "warm 1"}, {"text": "warm 2"}]
    times = {event["kind"]: datetime.fromisoformat(event["at"]) for event in tenant.events(execution_id)}
    waited = (times["AWAIT_COMPLETED"] - times["AWAITING"]).total_seconds()
    assert 1 <= waited < 10


def test_a_webhook_is_repeated_until_it_is_received_and_completed_with_its_token(
    tenant: TenantInUse, host: Host, receiver: Receiver
) -> None:
    receiver.statuses = [500, 204]
    host(tenant, "booking")
    execution_id = tenant.eventually_accepted("tests.booking", {"number": 7}, "k")["executionId"]
    eventually(lambda: len(receiver.requests) >= 2, what="the second request")
    [interaction] = tenant.get(f"interactions?executionId={execution_id}")["items"]
    path = f"interactions/{interaction['interactionId']}"
    eventually(lambda: tenant.get(path)["status"] == "DISPATCHED", what="the receipt")
    sent = receiver.requests[-1].json
    assert (sent["requestPayload"], sent["executionId"]) == ({"number": 7}, execution_id)
    assert tenant.execution(execution_id)["status"] == "WAITING_EXTERNAL"

    address = sent["callback"]["completionUrl"]
    body = {"resumeToken": sent["resumeToken"], "response": {"text": "booking 7"}, "actor": "erp"}
    tampered = requests.post(address, json={**body, "resumeToken": sent["resumeToken"][:-1]}, timeout=30)
    assert (tampered.status_code, tampered.json()["code"]) == (400, "RESUME_TOKEN_INVALID")
    completed = requests.post(address, json=body, timeout=30)
    assert (completed.status_code, completed.json()["actor"]) == (200, "resume-token:erp")
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"text": "filed booking 7"}
