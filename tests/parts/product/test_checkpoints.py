"""Checkpoints over real processes: a retry repeats only the failed step."""

from pathlib import Path
from signal import SIGTERM

import pytest

from embedded.children import Child
from tests.e2e.conftest import PIPELINES
from tests.running import TenantInUse, build

SOURCE = PIPELINES / "checkpointed"


@pytest.fixture
def worker(tenant: TenantInUse, tmp_path: Path) -> Child:
    """A worker of the pipeline, whose release is active."""
    release = build("checkpointed:pipeline", SOURCE, tmp_path / "release", "1.0")
    assert release.document["artifacts"][0]["capabilities"] == ["checkpoint-each-step"]
    tenant.register(release)
    tenant.activate(release)
    return tenant.start_worker(release, "worker")


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def runs(marks: Path) -> dict[str, int]:
    """Return the number of runs of each step."""
    return {file.name: len(file.read_text().splitlines()) for file in marks.iterdir()}


def test_a_retry_resumes_at_the_failed_step_with_the_output_of_the_step_before(
    tenant: TenantInUse, worker: Child, marks: Path
) -> None:
    value = {"marks": str(marks), "items": 3, "fail_times": 2}
    execution_id = tenant.accepted("tests.checkpointed", value, "k")["executionId"]
    ended = tenant.wait_for(execution_id, "SUCCEEDED", "FAILED", "DLQ")
    assert ended["status"] == "SUCCEEDED"
    assert runs(marks) == {"split": 1, "double": 1, "add_up": 3}
    assert tenant.result(execution_id) == {"count": 3, "sum": 12, "attempt": 2}
    assert (ended["attempt"], ended["currentStepIndex"]) == (2, 2)
    events = tenant.events(execution_id)
    kinds = [event["kind"] for event in events]
    assert kinds[2] == "CHECKPOINT"  # sent before the failure or with it
    assert [kind for kind in kinds if kind != "CHECKPOINT"] == [
        "SUBMITTED",
        *["CLAIMED", "RETRY_SCHEDULED"] * 2,
        "CLAIMED",
        "SUCCEEDED",
    ]
    claims = [event["data"] for event in events if event["kind"] == "CLAIMED"]
    assert [(claim["stepIndex"], claim["attempt"]) for claim in claims] == [(0, 0), (2, 1), (2, 2)]


def test_an_empty_stream_passes_from_step_to_step(tenant: TenantInUse, worker: Child, marks: Path) -> None:
    value = {"marks": str(marks), "items": 0, "fail_times": 2}
    execution_id = tenant.accepted("tests.checkpointed", value, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert tenant.result(execution_id) == {"count": 0, "sum": 0, "attempt": 0}
    assert runs(marks) == {"split": 1}


def test_a_checkpoint_remains_after_its_worker_has_stopped(
    tenant: TenantInUse, worker: Child, marks: Path, tmp_path: Path
) -> None:
    """The worker stops before the failed step runs again. Another worker resumes from the checkpoint."""
    gate = tmp_path / "gate"
    value = {"marks": str(marks), "items": 2, "fail_times": 1, "gate": str(gate)}
    execution_id = tenant.accepted("tests.checkpointed", value, "k")["executionId"]
    tenant.wait_until_begun(execution_id)
    worker.send(SIGTERM)
    gate.touch()
    assert worker.wait(20) == 0
    tenant.wait_for(execution_id, "WAIT_RETRY")
    tenant.start_worker(build("checkpointed:pipeline", SOURCE, tmp_path / "release", "1.0"), "successor")
    tenant.wait_for(execution_id, "SUCCEEDED", seconds=40)
    assert runs(marks) == {"split": 1, "double": 1, "add_up": 2}
    assert tenant.result(execution_id)["sum"] == 6
