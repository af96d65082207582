"""The real product keeps the limit of a pipeline and starts what waits, although its processes are killed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.docs.commands import FENCE, text_of
from tests.running import RunningProduct, TenantInUse, build, eventually

PIPELINE = "org.example.transfers"
ACCOUNTS = ("a", "b")


def submit(tenant: TenantInUse, *keys: str, **members: Any) -> list[str]:
    items = [
        {"pipelineId": PIPELINE, "input": {"account": key[0], "amount": 1}, "idempotencyKey": key, **members}
        for key in keys
    ]
    verdicts = tenant.post("executions:batch", items=items)["items"]
    assert [each["status"] for each in verdicts] == [202] * len(keys), verdicts
    return [str(each["execution"]["executionId"]) for each in verdicts]


def most_at_once(tenant: TenantInUse, ids: list[str]) -> int:
    """Return how many of these executions were claimed and had not ended at the same moment, at most."""
    changes: list[tuple[str, int]] = []
    for execution_id in ids:
        events = tenant.events(execution_id)
        first = next(event["at"] for event in events if event["kind"] == "CLAIMED")
        changes += [(first, 1), (events[-1]["at"], -1)]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def test_killed_processes_neither_exceed_a_limit_nor_lose_what_waits(
    running: RunningProduct, tenant: TenantInUse, tmp_path: Path
) -> None:
    [example] = [
        text for language, text in FENCE.findall(text_of("docs/start-and-concurrency.md")) if "# limited" in text
    ]
    source = tmp_path / "source"
    source.mkdir()
    slow = example.replace("    return transfer", "    import time\n\n    time.sleep(0.4)\n    return transfer")
    (source / "limited.py").write_text(slow)
    release = build("limited:pipeline", source, tmp_path / "dist", "1.0")
    worker = tenant.host(release, "first")
    tenant.wait_for_worker("first", "HEALTHY")
    ids = submit(tenant, *(f"{account}{number}" for number in range(6) for account in ACCOUNTS))
    tenant.wait_for(ids[0], "SUCCEEDED")
    shown = tenant.execution(ids[-1])
    assert (shown["status"], shown["nextDueAt"], shown["concurrencyKey"]) == ("QUEUED", None, "account=b")
    now = datetime.now(UTC)
    [urgent] = submit(tenant, "a-high", priority="high")
    [expired] = submit(tenant, "a-expired", expiresAt=(now + timedelta(seconds=1)).isoformat())
    [later] = submit(tenant, "c-later", notBefore=(now + timedelta(seconds=3)).isoformat())
    worker.kill()
    running.kill("control-worker")
    running.restore()
    tenant.start_worker(release, "second")
    for execution_id in (*ids, urgent, later):
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=120)
    ended = tenant.wait_for(expired, "CANCELLED", seconds=60)
    assert (ended["error"]["code"], len(tenant.events(expired))) == ("EXPIRED", 2)
    for account in ACCOUNTS:
        assert most_at_once(tenant, [each for each, key in zip(ids, ACCOUNTS * 6, strict=True) if key == account]) == 1
    finished = {each: tenant.execution(each)["finishedAt"] for each in (*ids, urgent)}
    assert finished[urgent] < finished[ids[-2]], "the high one was submitted last, and did not end last"
    begun = next(event["at"] for event in tenant.events(later) if event["kind"] == "CLAIMED")
    assert datetime.fromisoformat(begun) >= now + timedelta(seconds=3)
    eventually(lambda: tenant.get("executions?status=QUEUED")["items"] == [], what="an empty queue", seconds=10)
