"""A hog and a trickle over real workers: the trickle is done long before the hog is."""

from pathlib import Path

import pytest

from executions.models import TERMINAL_VALUES, Execution
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

PIPELINES = Path(__file__).parent / "pipelines"
HOG, TRICKLE = 1000, 5


@pytest.fixture
def hog(tenant: TenantInUse, tmp_path: Path) -> TenantInUse:
    """A tenant with a thousand executions of a step that takes a twentieth of a second, on their way."""
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    tenant.start_worker(slow, "worker-slow")
    work = {"marks": str(tmp_path / "marks"), "seconds": 0.05}
    items = [{"pipelineId": "tests.slow", "input": work, "idempotencyKey": f"hog-{n}"} for n in range(HOG)]
    answer = tenant.http.post(tenant.url("executions:batch"), json={"items": items})
    assert answer.status_code == 200, answer.text
    return tenant


def waiting(of: TenantInUse) -> int:
    rows = Execution.objects.filter(tenant=of.tenant, pipeline_id="tests.slow")
    assert rows.count() == HOG
    return rows.exclude(status__in=TERMINAL_VALUES).count()


@pytest.mark.parametrize("same_tenant", [True, False])
def test_the_trickle_is_done_long_before_the_hog(
    running: RunningProduct, hog: TenantInUse, v1: BuiltRelease, name: str, same_tenant: bool
) -> None:
    trickle = hog if same_tenant else running.tenant(f"{name}-small")
    trickle.register(v1)
    trickle.activate(v1)
    trickle.start_worker(v1, "worker-v1")
    before = waiting(hog)
    assert before > HOG / 2, "the hog was drained before anything was measured"
    for number in range(TRICKLE):
        made = trickle.accepted("tests.pinned", {"number": number}, f"trickle-{number}")
        trickle.wait_for(made["executionId"], "SUCCEEDED")
    # One after the other: each found its way past all that the hog has waiting.
    assert waiting(hog) > before / 2
    trickle.stop_workers()
