"""What a step says stays with its execution when its worker is killed, and the next worker goes on from it."""

from pathlib import Path

from tests.e2e.orders import PIPELINES
from tests.running import TenantInUse, build, eventually

TOKEN = "s3cret-of-talking"


def test_a_killed_worker_leaves_what_its_step_said(tenant: TenantInUse, tmp_path: Path) -> None:
    release = build("talking:pipeline", PIPELINES / "talking", tmp_path / "dist", "1.0")
    tenant.publish(release)
    path = f"pipelines/{release.pipeline_id}/releases/1.0"
    declared = {"config": {"TALKING_SIZE": "integer"}, "secrets": {"TALKING_TOKEN": "text"}}
    assert tenant.get(path)["declarations"] == declared

    config = {"TALKING_SIZE": "2", "TALKING_TOKEN": TOKEN}
    first = tenant.start_worker(release, "first", **config)
    tenant.activate(release)
    value = {"rows": 6, "gate": str(tmp_path / "gate")}
    execution_id = tenant.eventually_accepted(release.pipeline_id, value, "k")["executionId"]

    def progress() -> bool:
        reached = tenant.execution(execution_id)["progress"]
        return bool(reached and (reached["done"], reached["total"], reached["message"]) == (2, 6, "loading"))

    said = ["begins after 0 as [secret]", "loaded 2"]

    def lines() -> list[str]:
        return [line["text"] for line in tenant.get(f"executions/{execution_id}/log")["lines"]]

    eventually(progress, what="the progress of a running step")
    # The step logs after it has reported progress, so its line may come with the next heartbeat, a second later.
    eventually(lambda: lines() == said, seconds=5, what="the lines of a running step")
    first.kill()
    assert lines() == said

    second = tenant.start_worker(release, "second", **config)
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert lines() == [*said, "begins after 2 as [secret]", "loaded 4", "loaded 6"]
    assert tenant.execution(execution_id)["progress"]["done"] == 6
    assert TOKEN not in first.log.read_text() + second.log.read_text()
