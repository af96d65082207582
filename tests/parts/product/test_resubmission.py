"""Failures of one release are resubmitted on the next one, with real processes."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import PIPELINES
from tests.parts.product.test_operators import kinds, post
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually

COUNT = 20
FILTERS = {"pipelineId": "tests.gated"}
CORRECTED = "    if False:\n"


@pytest.fixture
def broken(tmp_path: Path) -> BuiltRelease:
    """Release 1.0, whose step fails permanently."""
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
    assert {name: count for name, count in progress.items() if count} == {"total": COUNT, "resubmitted": COUNT}
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


def edited(source: Path, to: Path, *changes: tuple[str, str]) -> Path:
    """Return a copy of the pipeline `checkpointed` with these replacements of its text."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
    module = to / "checkpointed.py"
    text = module.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    module.write_text(text)
    return to


def test_only_the_step_that_failed_runs_on_the_next_release(tenant: TenantInUse, tmp_path: Path) -> None:
    """The next release has another contract: its last step returns one more field."""
    source, failure = PIPELINES / "checkpointed", 'raise RuntimeError("not yet")'
    wrong = edited(
        source,
        tmp_path / "wrong",
        (failure, "raise NonRetryable('broken')"),
        ("import Pipeline,", "import NonRetryable, Pipeline,"),
    )
    right = edited(
        source, tmp_path / "right", (failure, "pass"), ("    attempt: int\n", '    attempt: int\n    note: str = ""\n')
    )
    broken = build("checkpointed:pipeline", wrong, tmp_path / "broken", "1.0")
    fixed = build("checkpointed:pipeline", right, tmp_path / "fixed", "1.1")
    assert broken.document["contractVersion"] != fixed.document["contractVersion"]
    (tmp_path / "marks").mkdir()
    tenant.register(broken)
    tenant.activate(broken)
    tenant.start_worker(broken, "worker-1.0")
    value = {"marks": str(tmp_path / "marks"), "items": 3, "fail_times": 9}
    old = tenant.accepted("tests.checkpointed", value, "k")["executionId"]
    assert tenant.wait_for(old, "FAILED", seconds=60)["currentStepIndex"] == 2

    tenant.register(fixed)
    tenant.start_worker(fixed, "worker-1.1")
    request = {"from": "checkpoint", "releaseVersion": "1.1", "reason": "fixed in 1.1"}
    new = post(tenant, f"executions/{old}/resubmit", 202, **request)
    assert (new["currentStepIndex"], new["resubmittedFrom"]) == (2, old)
    tenant.wait_for(new["executionId"], "SUCCEEDED", seconds=60)
    assert tenant.result(new["executionId"]) == {"count": 3, "sum": 12, "attempt": 0, "note": ""}
    runs = {file.name: len(file.read_text().splitlines()) for file in (tmp_path / "marks").iterdir()}
    assert runs == {"split": 1, "double": 1, "add_up": 2}
