"""Awaits with real processes: timeouts, streams, timers, and responses that are results."""

from datetime import datetime

from tests.parts.product.conftest import Host, complete, kinds, pending
from tests.running import TenantInUse


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


def test_every_item_of_a_stream_is_completed_and_keeps_its_index(tenant: TenantInUse, host: Host) -> None:
    host(tenant, "batch")
    execution_id = tenant.accepted("tests.batch", {"number": 4}, "k")["executionId"]
    interactions = pending(tenant, execution_id, count=4)
    assert [item["request"]["number"] for item in interactions] == [0, 1, 2, 3]
    for index in (3, 1, 0, 2):
        assert tenant.execution(execution_id)["status"] == "WAITING_EXTERNAL"
        complete(tenant, interactions[index], {"accepted": index != 1, "note": f"n{index}"})
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"text": "n0,n2,n3"}


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
