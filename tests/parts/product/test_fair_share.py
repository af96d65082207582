"""With real workers, a few executions complete long before a large batch that was submitted earlier."""

from pathlib import Path

import pytest

from executions.models import TERMINAL_VALUES, Execution
from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

LARGE, SMALL = 1000, 5


@pytest.fixture
def busy(tenant: TenantInUse, tmp_path: Path) -> TenantInUse:
    """A tenant that has submitted a thousand executions of a step that takes 0.05 s."""
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    tenant.start_worker(slow, "worker-slow")
    work = {"marks": str(tmp_path / "marks"), "seconds": 0.05}
    items = [{"pipelineId": "tests.slow", "input": work, "idempotencyKey": f"large-{n}"} for n in range(LARGE)]
    response = tenant.http.post(tenant.url("executions:batch"), json={"items": items})
    assert response.status_code == 200, response.text
    return tenant


def unfinished(tenant: TenantInUse) -> int:
    rows = Execution.objects.filter(tenant=tenant.tenant, pipeline_id="tests.slow")
    assert rows.count() == LARGE
    return rows.exclude(status__in=TERMINAL_VALUES).count()


@pytest.mark.parametrize("same_tenant", [True, False])
def test_a_small_batch_completes_long_before_a_large_one(
    running: RunningProduct, busy: TenantInUse, v1: BuiltRelease, name: str, same_tenant: bool
) -> None:
    small = busy if same_tenant else running.tenant(f"{name}-small")
    small.register(v1)
    small.activate(v1)
    small.start_worker(v1, "worker-v1")
    before = unfinished(busy)
    assert before > LARGE / 2, "most of the large batch must be unfinished when the measurement starts"
    for number in range(SMALL):
        accepted = small.accepted("tests.pinned", {"number": number}, f"small-{number}")
        small.wait_for(accepted["executionId"], "SUCCEEDED")
    # They ran one after the other. Each overtook the executions of the large batch.
    assert unfinished(busy) > before / 2
    small.stop_workers()
