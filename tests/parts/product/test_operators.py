"""A campaign of re-drives with real processes."""

import time
from datetime import datetime
from pathlib import Path

from tests.e2e.conftest import PIPELINES
from tests.parts.product.conftest import kinds, post
from tests.running import RunningProduct, TenantInUse, build, eventually

COUNT = 30
FILTERS = {"pipelineId": "tests.gated", "errorCode": "gated.GateClosed"}


def test_a_campaign_redrives_failures_across_a_pause_and_a_restart(
    running: RunningProduct, tenant: TenantInUse, tmp_path: Path
) -> None:
    gated = build("gated:pipeline", PIPELINES / "gated", tmp_path / "gated", "1.0")
    tenant.register(gated)
    tenant.activate(gated)
    tenant.start_worker(gated, "gatekeeper")
    gate = tmp_path / "gate"
    work = [{"number": number, "gate": str(gate)} for number in range(COUNT)]
    execution_ids = [tenant.accepted("tests.gated", each, f"k{each['number']}")["executionId"] for each in work]
    for execution_id in execution_ids:
        assert tenant.wait_for(execution_id, "DLQ", "SUCCEEDED", seconds=60)["attempt"] == 2

    letters = tenant.get("dead-letters?errorCode=gated.GateClosed&pageSize=100")["items"]
    assert {letter["executionId"] for letter in letters} == set(execution_ids)
    assert post(tenant, "campaigns/preview", filters=FILTERS)["count"] == COUNT
    gate.touch()
    started = post(tenant, "campaigns", 201, filters=FILTERS, reason="the gate is open", ratePerMinute=240)
    campaign = f"campaigns/{started['campaignId']}"

    def progress() -> dict[str, int]:
        found: dict[str, int] = tenant.get(campaign)["progress"]
        return found

    eventually(lambda: progress()["redriven"] >= 3, what="the first re-drives")
    paused = post(tenant, f"{campaign}/pause", reason="to look at the first")
    assert paused["progress"]["pending"] > 0
    time.sleep(2)
    assert progress() == paused["progress"]

    # The process that has run the campaign so far is killed. Another one continues it.
    [worker] = [child for child in running.product.children.started if child.name == "control-worker"]
    worker.kill()
    running.product.children.started.remove(worker)
    post(tenant, f"{campaign}/resume")
    time.sleep(1)
    assert progress() == paused["progress"]
    running.product.start_control_worker()

    eventually(lambda: tenant.get(campaign)["status"] == "COMPLETED", seconds=60, what="the end of the campaign")
    assert {name: count for name, count in progress().items() if count} == {"total": COUNT, "redriven": COUNT}
    for execution_id, each in zip(execution_ids, work, strict=True):
        ended = tenant.wait_for(execution_id, "SUCCEEDED", "DLQ", seconds=60)
        assert (ended["status"], ended["pin"]["releaseVersion"]) == ("SUCCEEDED", "1.0")
        assert tenant.result(execution_id) == {"number": each["number"], "attempt": 3}
        assert kinds(tenant, execution_id).count("REDRIVEN") == 1
    assert [event["kind"] for event in tenant.get(campaign)["events"]] == ["STARTED", "PAUSED", "RESUMED", "COMPLETED"]
    items = tenant.get(f"{campaign}/items?pageSize=100")["items"]
    assert [(item["outcome"], item["executionStatus"]) for item in items] == [("REDRIVEN", "SUCCEEDED")] * COUNT
    first, *_, last = (datetime.fromisoformat(item["at"]) for item in items)
    assert (last - first).total_seconds() >= (COUNT - 1) / 4 - 1, "240 a minute"
