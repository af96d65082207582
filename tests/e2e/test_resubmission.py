"""Failures of one release are resubmitted on the next one, with real processes."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.test_operators import PIPELINES, kinds, post
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually

COUNT = 20
FILTERS = {"pipelineId": "tests.gated"}
CORRECTED = "    if False:\n"


@pytest.fixture
def broken(tmp_path: Path) -> BuiltRelease:
    """Release 1.0, whose step fails for good."""
    return build("gated:pipeline", PIPELINES / "gated", tmp_path / "broken", "1.0")


@pytest.fixture
def fixed(tmp_path: Path) -> BuiltRelease:
    """Release 1.1 of the same contract, whose step succeeds."""
    source = tmp_path / "source"
    shutil.copytree(PIPELINES / "gated", source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "gated.py"
    module.write_text(module.read_text().replace("    if not Path(work.gate).exists():\n", CORRECTED))
    assert CORRECTED in module.read_text()
    return build("gated:pipeline", source, tmp_path / "fixed", "1.1")


def test_a_campaign_resubmits_the_failures_of_a_release_on_the_next_one(
    running: RunningProduct, tenant: TenantInUse, broken: BuiltRelease, fixed: BuiltRelease
) -> None:
    tenant.register(broken)
    tenant.activate(broken)
    tenant.start_worker(broken, "worker-1.0")
    work = {"gate": "/nowhere/gate", "retryable": False}
    old = [tenant.accepted("tests.gated", {**work, "number": n}, f"k{n}")["executionId"] for n in range(COUNT)]
    for execution_id in old:
        tenant.wait_for(execution_id, "FAILED", seconds=60)
    tenant.register(fixed)
    tenant.start_worker(fixed, "worker-1.1")
    tenant.activate(fixed, "fixes the gate")

    request = {"filters": FILTERS, "allowFailed": True, "reason": "fixed in 1.1", "kind": "resubmit"}
    campaign = f"campaigns/{post(tenant, 'campaigns', 201, **request, ratePerMinute=600)['campaignId']}"
    eventually(lambda: tenant.get(campaign)["progress"]["resubmitted"] >= 2, what="the first new executions")
    [worker] = [child for child in running.product.children.started if child.name == "control-worker"]
    worker.kill()
    running.product.children.started.remove(worker)
    running.product.start_control_worker()

    eventually(lambda: tenant.get(campaign)["status"] == "COMPLETED", seconds=60, what="the end of the campaign")
    progress = tenant.get(campaign)["progress"]
    assert progress == {"total": COUNT, "pending": 0, "redriven": 0, "resubmitted": COUNT, "skipped": 0}
    items = tenant.get(f"{campaign}/items?pageSize=100")["items"]
    assert {item["executionId"] for item in items} == {*old}
    assert len({item["newExecutionId"] for item in items}) == COUNT
    for item in items:
        number = old.index(item["executionId"])
        new = tenant.wait_for(item["newExecutionId"], "SUCCEEDED", seconds=60)
        assert (new["pin"]["releaseVersion"], new["resubmittedFrom"]) == ("1.1", item["executionId"])
        assert tenant.result(item["newExecutionId"]) == {"number": number, "attempt": 0}
        failed = tenant.execution(item["executionId"])
        assert (failed["status"], failed["pin"]["releaseVersion"]) == ("FAILED", "1.0")
        assert [each["executionId"] for each in failed["resubmittedAs"]] == [item["newExecutionId"]]
        assert kinds(tenant, item["executionId"])[-2:] == ["FAILED", "RESUBMITTED"]
    assert len(tenant.get("executions?pageSize=100")["items"]) == 2 * COUNT
