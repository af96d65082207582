"""Awaits with real processes: a worker suspends, an interaction is completed, and a worker resumes."""

import time
from datetime import datetime
from typing import Any

import requests

from embedded.valkey import Valkey
from tenancy.roles import Scope
from tests.parts.product.conftest import Host
from tests.receiving import Receiver
from tests.running import RunningProduct, TenantInUse, eventually


def pending(tenant: TenantInUse, execution_id: str, count: int = 1, query: str = "") -> list[dict[str, Any]]:
    def found_interactions() -> list[dict[str, Any]] | None:
        path = f"interactions?status=pending&executionId={execution_id}{query}"
        found: list[dict[str, Any]] = tenant.get(path)["items"]
        return found if len(found) == count else None

    return eventually(found_interactions, what=f"{count} interactions of {execution_id}")


def complete(tenant: TenantInUse, interaction: dict[str, Any], response: Any, status: int = 200) -> Any:
    body = {"interactionId": interaction["interactionId"], "response": response}
    completed = tenant.http.post(tenant.url("interactions/complete"), json=body)
    assert completed.status_code == status, completed.text
    return completed.json()


def kinds(tenant: TenantInUse, execution_id: str) -> list[str]:
    events = tenant.events(execution_id)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    return [event["kind"] for event in events]


def test_an_approval_resumes_the_execution(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "approval")
    execution_id = tenant.accepted("tests.approval", {"number": 4}, "k")["executionId"]
    [interaction] = pending(tenant, execution_id, query="&assignee=eva&group=finance&pipelineId=tests.approval")
    assert (interaction["request"], interaction["stepId"], interaction["stepIndex"]) == (
        {"number": 8},
        "ProcessApproveService",
        1,
    )
    suspended = tenant.wait_for(execution_id, "WAITING_EXTERNAL")
    assert (suspended["version"], suspended["currentStepIndex"]) == (2, 1)

    refused = complete(tenant, interaction, {"accepted": "yes"}, 422)
    assert [error["field"] for error in refused["errors"]] == ["response.accepted"]
    by_clerk = requests.post(
        tenant.url("interactions/complete"),
        json={"correlationId": interaction["correlationId"], "response": {"accepted": True, "note": "fine"}},
        headers={"Authorization": f"Bearer {tenant.token([Scope.ANSWER], 'clerk')}"},
    )
    assert (by_clerk.status_code, by_clerk.json()["duplicate"]) == (200, False)
    ended = tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"text": "settled: fine"}
    # Wire protocol E.10: create, claim, suspend, complete, claim, succeed.
    assert ended["version"] == 5
    assert kinds(tenant, execution_id) == [
        "SUBMITTED",
        "CLAIMED",
        "AWAITING",
        "AWAIT_COMPLETED",
        "CLAIMED",
        "SUCCEEDED",
    ]
    repeated = complete(tenant, interaction, {"accepted": False})
    assert (repeated["duplicate"], repeated["response"], repeated["actor"]) == (
        True,
        {"accepted": True, "note": "fine"},
        "token:clerk",
    )
    assert tenant.execution(execution_id)["version"] == 5


def test_the_pipeline_decides_what_a_rejection_means(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "approval")
    execution_id = tenant.accepted("tests.approval", {"number": 4}, "k")["executionId"]
    complete(tenant, pending(tenant, execution_id)[0], {"accepted": False, "note": "too expensive"})
    ended = tenant.wait_for(execution_id, "FAILED")
    assert ended["error"]["message"] == 'step "Settle": rejected: too expensive'
    assert ended["attempt"] == 0


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


def test_a_webhook_that_is_never_received_fails_the_execution(
    tenant: TenantInUse, host: Host, receiver: Receiver
) -> None:
    receiver.statuses = [503]
    host(tenant, "booking")
    execution_id = tenant.accepted("tests.booking", {"number": 7}, "k")["executionId"]
    assert tenant.wait_for(execution_id, "FAILED")["error"]["code"] == "WEBHOOK_UNDELIVERABLE"
    assert len(receiver.requests) == 3


def test_every_item_of_a_stream_is_completed_and_keeps_its_index(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "batch")
    execution_id = tenant.accepted("tests.batch", {"number": 4}, "k")["executionId"]
    interactions = sorted(pending(tenant, execution_id, count=4), key=lambda item: int(item["itemIndex"]))
    assert [item["request"]["number"] for item in interactions] == [0, 1, 2, 3]
    for index in (3, 1, 0, 2):
        assert tenant.execution(execution_id)["status"] == "WAITING_EXTERNAL"
        complete(tenant, interactions[index], {"accepted": index != 1, "note": f"n{index}"})
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"text": "n0,n2,n3"}


def test_an_empty_stream_creates_no_interaction(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "batch")
    execution_id = tenant.accepted("tests.batch", {"number": 0}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"text": ""}


def test_a_stream_continues_after_a_timer(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "cooling")
    execution_id = tenant.accepted("tests.cooling", {"number": 3}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == [{"text": "warm 0"}, {"text": "warm 1"}, {"text": "warm 2"}]
    times = {event["kind"]: datetime.fromisoformat(event["at"]) for event in tenant.events(execution_id)}
    waited = (times["AWAIT_COMPLETED"] - times["AWAITING"]).total_seconds()
    assert 1 <= waited < 10


def test_a_response_can_be_the_result(tenant: TenantInUse, host: Host) -> None:
    """The await is the last step, with checkpoints enabled. The worker returns the response as the result."""
    host(tenant, "verdict")
    execution_id = tenant.accepted("tests.verdict", {"number": 1}, "k")["executionId"]
    complete(tenant, pending(tenant, execution_id)[0], {"accepted": True, "note": "agreed"})
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"accepted": True, "note": "agreed"}


def test_with_the_broker_down_a_response_is_accepted_and_the_execution_resumes_later(
    own_broker: tuple[RunningProduct, Valkey], host: Host, name: str
) -> None:
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        host(tenant, "approval")
        execution_id = tenant.accepted("tests.approval", {"number": 1}, "k")["executionId"]
        [interaction] = pending(tenant, execution_id)
        valkey.stop()
        began = time.monotonic()
        assert not complete(tenant, interaction, {"accepted": True, "note": "without the broker"})["duplicate"]
        assert time.monotonic() - began < 10
        # It is claimed, and queued again because the broker is unavailable.
        eventually(lambda: tenant.execution(execution_id)["status"] == "QUEUED", what="the execution queued again")
        valkey.start()
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
        assert tenant.result(execution_id) == {"text": "settled: without the broker"}
    finally:
        tenant.stop_workers()
