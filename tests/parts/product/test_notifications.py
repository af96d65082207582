"""A channel hears of the end of an execution from the real product, also if the process that tells it is killed."""

import threading
import time

from tests.http_server import Request
from tests.parts.product.conftest import post
from tests.receiving import Receiver
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually

P = "tests.pinned"


def test_a_message_is_delivered_although_its_process_is_killed(
    running: RunningProduct, tenant: TenantInUse, v1: BuiltRelease, receiver: Receiver
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker")
    post(tenant, "alert-channels", 201, name="hook", kind="webhook", address=receiver.url())

    first = submitted(tenant, "first")
    eventually(lambda: receiver.requests, what="the message", seconds=10)
    assert receiver.requests[0].json["executionId"] == first
    assert tenant.get(f"executions/{first}/result?wait=1")["result"]["number"] == 1

    began = threading.Event()
    answer = receiver.respond

    def hang(request: Request) -> None:
        began.set()
        time.sleep(20)

    receiver.respond = hang  # type: ignore[method-assign]
    second = submitted(tenant, "second")
    assert began.wait(30)
    running.kill("control-worker")
    receiver.respond = answer  # type: ignore[method-assign]
    running.restore()
    [message] = tenant.get(f"notifications?executionId={second}")["items"]
    assert (message["state"], message["attempts"], message["executionStatus"]) == ("PENDING", 1, "SUCCEEDED")
    eventually(lambda: len(receiver.requests) == 2, what="the second attempt", seconds=120)
    assert receiver.requests[1].json["executionId"] == second
    assert receiver.requests[1].headers["Idempotency-Key"] == message["notificationId"]
    [message] = tenant.get(f"notifications?executionId={second}")["items"]
    assert message["attempts"] == 2


def submitted(tenant: TenantInUse, key: str) -> str:
    tenant.wait_for_worker("worker", "HEALTHY")
    accepted = post(tenant, "executions", 202, pipelineId=P, input={"number": 1}, idempotencyKey=key, notify="hook")
    return str(accepted["executionId"])
