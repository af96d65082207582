import shutil
from pathlib import Path
from typing import Any

from tests.running import BuiltRelease, TenantInUse, build, eventually

PIPELINES = Path(__file__).parent / "pipelines"
PIPELINE = "tests.orders"
ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def build_orders(folder: Path, version: str, *changes: tuple[str, str]) -> BuiltRelease:
    """Build the pipeline with this version and these replacements of its text."""
    source = folder / f"source-{version}"
    shutil.copytree(PIPELINES / "orders", source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "orders.py"
    text = module.read_text()
    for old, new in [('VERSION = "1.0"', f'VERSION = "{version}"'), *changes]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    module.write_text(text)
    return build("orders:pipeline", source, folder / version, version)


class Orders:
    """A tenant in which release 1.0 is active and hosted by the worker `first`. Release 2.0 is only registered."""

    def __init__(self, tenant: TenantInUse, folder: Path) -> None:
        self.tenant = tenant
        self.folder = folder
        self.releases = {version: build_orders(folder, version) for version in ("1.0", "2.0")}
        tenant.register(self.releases["2.0"])
        self.first = tenant.host(self.releases["1.0"], "first")
        self._folders: dict[str, Path] = {}

    def submit(self, **members: Any) -> str:
        number = len(self._folders) + 1
        folder = self.folder / f"order-{number}"
        folder.mkdir()
        value = {"number": number, "folder": str(folder), **members}
        execution_id = str(self.tenant.eventually_accepted(PIPELINE, value, f"order-{number}")["executionId"])
        self._folders[execution_id] = folder
        return execution_id

    def begun(self, **members: Any) -> str:
        execution_id = self.submit(waits=True, **members)
        self.tenant.wait_until_begun(execution_id)
        return execution_id

    def path(self, execution_id: str, name: str) -> Path:
        return self._folders[execution_id] / name

    def open(self, execution_id: str) -> None:
        self.path(execution_id, "gate").touch()

    def runs(self, execution_id: str, step: str) -> int:
        file = self._folders[execution_id] / step
        return len(file.read_text().splitlines()) if file.exists() else 0

    def receipt(self, execution_id: str, *, seconds: float = 60) -> dict[str, Any]:
        self.tenant.wait_for(execution_id, "SUCCEEDED", seconds=seconds)
        receipt: dict[str, Any] = self.tenant.result(execution_id)
        assert receipt.pop("execution_id") == execution_id
        return receipt

    def kinds(self, execution_id: str) -> list[str]:
        """Return the kinds of its events except checkpoints, which may be sent or left out."""
        events = self.tenant.events(execution_id)
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        return [event["kind"] for event in events if event["kind"] != "CHECKPOINT"]

    def workers(self, *execution_ids: str) -> set[str]:
        actors = [event["actor"] for execution_id in execution_ids for event in self.tenant.events(execution_id)]
        return {actor.removeprefix("worker:") for actor in actors if actor.startswith("worker:")}

    def run_by(self, *, seconds: float = 60) -> set[str]:
        execution_ids = [self.submit() for _ in range(6)]
        for execution_id in execution_ids:
            self.receipt(execution_id, seconds=seconds)
        return self.workers(*execution_ids)

    def worker(self, name: str) -> dict[str, Any]:
        [worker] = [worker for worker in self.tenant.get("workers")["items"] if worker["workerId"] == name]
        return dict(worker)

    def wait_until(self, name: str, **reported: Any) -> None:
        eventually(lambda: reported.items() <= self.worker(name).items(), what=f"worker {name} {reported}", seconds=60)

    def request(self, change: str, name: str) -> None:
        self.tenant.post(f"workers/{PIPELINE}/{name}/{change}")

    def wait_for_heartbeat(self, name: str) -> None:
        before = self.worker(name)["lastHeartbeatAt"]
        eventually(lambda: self.worker(name)["lastHeartbeatAt"] > before, what=f"a heartbeat of {name}")
