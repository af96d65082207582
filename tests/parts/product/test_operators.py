"""Operators' requests with real processes: re-drives, campaigns and cancellations."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually

COUNT = 30
FILTERS = {"pipelineId": "tests.gated", "errorCode": "gated.GateClosed"}


@pytest.fixture
def gated(tmp_path: Path) -> BuiltRelease:
    return build("gated:pipeline", PIPELINES / "gated", tmp_path / "gated", "1.0")


@pytest.fixture
def hosted(tenant: TenantInUse, gated: BuiltRelease) -> TenantInUse:
    tenant.register(gated)
    tenant.activate(gated)
    tenant.start_worker(gated, "gatekeeper")
    return tenant


def post(tenant: TenantInUse, path: str, status: int = 200, **body: Any) -> Any:
    response = tenant.http.post(tenant.url(path), json=body)
    assert response.status_code == status, response.text
    return response.json()


def kinds(tenant: TenantInUse, execution_id: str) -> list[str]:
    return [event["kind"] for event in tenant.events(execution_id)]


def test_a_campaign_redrives_failures_across_a_pause_and_a_restart(
    running: RunningProduct, hosted: TenantInUse, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    work = [{"number": number, "gate": str(gate)} for number in range(COUNT)]
    execution_ids = [hosted.accepted("tests.gated", each, f"k{each['number']}")["executionId"] for each in work]
    for execution_id in execution_ids:
        assert hosted.wait_for(execution_id, "DLQ", "SUCCEEDED", seconds=60)["attempt"] == 2

    letters = hosted.get("dead-letters?errorCode=gated.GateClosed&pageSize=100")["items"]
    assert {letter["executionId"] for letter in letters} == set(execution_ids)
    assert post(hosted, "campaigns/preview", filters=FILTERS)["count"] == COUNT
    gate.touch()
    started = post(hosted, "campaigns", 201, filters=FILTERS, reason="the gate is open", ratePerMinute=240)
    campaign = f"campaigns/{started['campaignId']}"

    def progress() -> dict[str, int]:
        found: dict[str, int] = hosted.get(campaign)["progress"]
        return found

    eventually(lambda: progress()["redriven"] >= 3, what="the first re-drives")
    paused = post(hosted, f"{campaign}/pause", reason="to look at the first")
    assert paused["progress"]["pending"] > 0
    time.sleep(2)
    assert progress() == paused["progress"]

    # The process that has run the campaign so far is killed. Another one continues it.
    [worker] = [child for child in running.product.children.started if child.name == "control-worker"]
    worker.kill()
    running.product.children.started.remove(worker)
    post(hosted, f"{campaign}/resume")
    time.sleep(1)
    assert progress() == paused["progress"]
    running.product.start_control_worker()

    eventually(lambda: hosted.get(campaign)["status"] == "COMPLETED", seconds=60, what="the end of the campaign")
    assert {name: count for name, count in progress().items() if count} == {"total": COUNT, "redriven": COUNT}
    for execution_id, each in zip(execution_ids, work, strict=True):
        ended = hosted.wait_for(execution_id, "SUCCEEDED", "DLQ", seconds=60)
        assert (ended["status"], ended["pin"]["releaseVersion"]) == ("SUCCEEDED", "1.0")
        assert hosted.result(execution_id) == {"number": each["number"], "attempt": 3}
        assert kinds(hosted, execution_id).count("REDRIVEN") == 1
    assert [event["kind"] for event in hosted.get(campaign)["events"]] == ["STARTED", "PAUSED", "RESUMED", "COMPLETED"]
    items = hosted.get(f"{campaign}/items?pageSize=100")["items"]
    assert [(item["outcome"], item["executionStatus"]) for item in items] == [("REDRIVEN", "SUCCEEDED")] * COUNT
    duration = time_between(items[0]["at"], items[-1]["at"])
    assert duration >= (COUNT - 1) / 4 - 1


def time_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def test_a_redriven_execution_runs_on_its_pinned_release_with_new_retries(hosted: TenantInUse, tmp_path: Path) -> None:
    newer = build("gated:pipeline", PIPELINES / "gated", tmp_path / "newer", "2.0")
    gate = tmp_path / "gate"
    execution_id = hosted.accepted("tests.gated", {"number": 1, "gate": str(gate)}, "k")["executionId"]
    hosted.wait_for(execution_id, "DLQ")
    hosted.register(newer)
    hosted.activate(newer)
    hosted.start_worker(newer, "newer")
    first = post(hosted, f"executions/{execution_id}/redrive", reason="try again")
    assert (first["pin"]["releaseVersion"], first["previousStatus"], first["attempt"]) == ("1.0", "DLQ", 3)
    assert hosted.wait_for(execution_id, "DLQ")["attempt"] == 5
    gate.touch()
    post(
        hosted,
        f"executions/{execution_id}/redrive",
        reason="fixed",
        expectedVersion=hosted.execution(execution_id)["version"],
    )
    assert hosted.wait_for(execution_id, "SUCCEEDED", "DLQ")["status"] == "SUCCEEDED"
    assert hosted.result(execution_id) == {"number": 1, "attempt": 6}
    workers = {event["actor"] for event in hosted.events(execution_id) if event["actor"].startswith("worker:")}
    assert workers == {"worker:gatekeeper"}


def test_a_failed_execution_is_redriven_only_with_allow_failed(hosted: TenantInUse, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    execution_id = hosted.accepted("tests.gated", {"number": 1, "gate": str(gate), "retryable": False}, "k")[
        "executionId"
    ]
    assert hosted.wait_for(execution_id, "FAILED", "DLQ")["status"] == "FAILED"
    gate.touch()
    assert post(hosted, f"executions/{execution_id}/redrive", 409)["code"] == "REDRIVE_REFUSED"
    post(hosted, f"executions/{execution_id}/redrive", allowFailed=True)
    hosted.wait_for(execution_id, "SUCCEEDED")


def test_the_outcome_of_a_cancelled_execution_is_dropped(tenant: TenantInUse, tmp_path: Path) -> None:
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    tenant.start_worker(slow, "slow")
    marks = tmp_path / "marks"
    execution_id = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 2.0}, "k")["executionId"]
    eventually(marks.exists, what="the step's start")
    assert post(tenant, f"executions/{execution_id}/cancel", reason="a mistake")["status"] == "CANCELLED"
    eventually(lambda: "OUTCOME_DROPPED" in kinds(tenant, execution_id), what="the late outcome")
    assert tenant.execution(execution_id)["status"] == "CANCELLED"
    assert kinds(tenant, execution_id) == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]
