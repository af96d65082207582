"""The channel of a policy hears of ends from the real product, also if the process that tells it is killed."""

import threading
import time
from pathlib import Path

from tenancy.roles import Scope
from tests.command_line import CommandLine
from tests.docs.commands import FENCE, text_of
from tests.http_server import Request
from tests.receiving import Receiver
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually

P = "tests.pinned"


def test_a_message_is_delivered_although_its_process_is_killed(
    running: RunningProduct, tenant: TenantInUse, v1: BuiltRelease, receiver: Receiver, tmp_path: Path
) -> None:
    tenant.host(v1, "worker")
    [example] = [text for language, text in FENCE.findall(text_of("docs/results.md")) if language == "yaml"]
    for shown, used in (
        ("https://ops.example/executions", receiver.url()),
        ("org.example.orders", P),
        ("failed", "all"),
    ):
        example = example.replace(shown, used)
    (tmp_path / "tenant.yaml").write_text(example)
    coordinator = CommandLine(
        tmp_path,
        {
            "COORDINATOR_URL": tenant.product.url,
            "COORDINATOR_TENANT": tenant.tenant.slug,
            "COORDINATOR_TOKEN": tenant.token(Scope),
        },
    )
    for option in ("--yes", "--dry-run"):  # nothing is left to change
        done = coordinator("apply", "tenant.yaml", option)
        assert done.status == 0, done

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
    accepted = tenant.post("executions", 202, pipelineId=P, input={"number": 1}, idempotencyKey=key)
    return str(accepted["executionId"])
