"""A pipeline on disk, built and released. Its step writes a mark in each run."""

import json
import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import host_source
from pipelines.worker.outbox import Report
from tests import making
from wire.worker_keys import WorkerKey, worker_key

SOURCE = """
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext

HERE = Path(__file__).parent


@dataclass
class Order:
    number: int


pipeline = Pipeline("tests.hosted")


@pipeline.step
def settle(order: Order, context: StepContext) -> Order:
    with (HERE / "marks").open("a") as marks:
        marks.write(f"{order.number}\\n")
    if order.number == 13:
        raise RuntimeError("thirteen fails")
    if order.number == 14:
        raise NonRetryable("fourteen always will")
    while order.number == 99 and not (HERE / "go").exists():
        time.sleep(0.01)
    while order.number == 98 and not (HERE / "go").exists():
        context.raise_if_cancelled()
        time.sleep(0.01)
    return Order(order.number * 10 + context.attempt)
"""


@dataclass
class Hosted:
    """The pipeline's module, its descriptor, and a host for it; `marks` are the inputs of its step."""

    folder: Path
    module: str
    descriptor: Path
    key: ClassVar[WorkerKey] = worker_key("a secret", "acme")

    @property
    def reference(self) -> str:
        return f"{self.module}:pipeline"

    def host(self, take_ticket: Callable[[str], bool] = making.granted, capacity: int = 2) -> Host:
        running = host_source(self.reference, self.descriptor, "acme")
        return Host(running, key=self.key, worker_id="w", capacity=capacity, take_ticket=take_ticket)

    def marks(self) -> list[int]:
        file = self.folder / "marks"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def change_descriptor(self, change: Callable[[dict[str, Any]], None]) -> None:
        document = json.loads(self.descriptor.read_text())
        change(document)
        self.descriptor.write_text(json.dumps(document))


class Spoiler(logging.Handler):
    """A log handler of an author that raises."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise SystemExit


@pytest.fixture
def spoiled_log() -> Iterator[None]:
    logger, spoiler = logging.getLogger("pipelines"), Spoiler()
    level = logger.level
    logger.addHandler(spoiler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    logger.removeHandler(spoiler)


def executed(host: Host, message: Any) -> dict[str, Any] | None:
    """Return everything that the host reports on a message, in one signed message; None if it reports nothing."""
    reports: list[Report] = []
    host.execute(message, reports.append)
    host.drop_leases(reports)
    return host.sealed(reports) if reports else None


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    module = f"hosted_{secrets.token_hex(4)}"
    (tmp_path / f"{module}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "dist"
    build(f"{module}:pipeline", out)
    yield Hosted(tmp_path, module, release(out, release_version="1.0").path)
    sys.modules.pop(module, None)
