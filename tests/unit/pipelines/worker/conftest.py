import json
import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import host_source
from pipelines.worker.outcomes import Report
from tests import making
from tests.unit.pipelines.conftest import writing
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Command, CommandGroup, Heartbeat, Outcome, OutcomeGroup
from wire.messages.sealing import decode, seal, verify
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
LIMITED_SOURCE = SOURCE.replace("@pipeline.step", "@pipeline.step(timeout=0.3)")


@dataclass
class Hosted:
    """The pipeline's module, its descriptor, and hosts for it; `marks` are the inputs of its step."""

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

    def finish(self) -> None:
        """Let the steps of the numbers 98 and 99 end."""
        (self.folder / "go").touch()

    def forget(self) -> None:
        """Remove the marks, and let later steps of the numbers 98 and 99 wait again."""
        for name in ("marks", "go"):
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def hosting(folder: Path, module: str, out: Path) -> Iterator[Hosted]:
    with writing(folder):
        build(f"{module}:pipeline", out)
        yield Hosted(folder, module, release(out, release_version="1.0").path)


@contextmanager
def released(folder: Path, source: str) -> Iterator[Hosted]:
    module = f"hosted_{secrets.token_hex(4)}"
    (folder / f"{module}.py").write_text(source)
    with hosting(folder, module, folder / "dist") as made:
        yield made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with released(tmp_path_factory.mktemp("hosted"), SOURCE) as made:
        yield made


@pytest.fixture
def hosted(built: Hosted) -> Iterator[Hosted]:
    """The release above. What a test changes in its files is undone."""
    files = [path for path in built.folder.rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files}
    yield built
    built.forget()
    for path in built.folder.rglob("*"):
        if path.is_file() and path not in contents:
            path.unlink()
    for path, content in contents.items():
        path.write_bytes(content)


@pytest.fixture
def host(hosted: Hosted) -> Host:
    return hosted.host()


class Spoiler(logging.Handler):
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


def command(number: Any = 1, **members: Any) -> Command:
    defaults: dict[str, Any] = {
        **{"execution_id": uuid.uuid4(), "execution_version": 7, "transition_key": "the:key:0"},
        **{"current_step_index": 0, "stop_before_step_index": -1, "attempt": 0, "result_shape": "SINGLE"},
        **{"lease_token": uuid.uuid4(), "lease_seconds": 30.0},
        **{"shape": "UNI", "payload": json.dumps({"number": number})},
    }
    return Command(**{**defaults, **members})


def sealed(
    host: Host, *commands: Command, key: WorkerKey = Hosted.key, identity: ReleaseIdentity | None = None
) -> dict[str, Any]:
    return seal(identity or host.release.identity, CommandGroup(commands=list(commands)), key)


def executed(host: Host, message: Any) -> dict[str, Any] | None:
    """Return everything that the host reports on a message, in one signed message; None if it reports nothing."""
    reports: list[Report] = []
    host.execute(message, reports.append)
    host.drop_leases(reports)
    return host.sealed(reports) if reports else None


def outcomes_in(message: dict[str, Any] | None) -> list[Outcome]:
    assert message is not None
    return decode(verify(message, lambda _: [Hosted.key]), OutcomeGroup).outcomes


def outcomes(host: Host, *commands: Command) -> list[Outcome]:
    return outcomes_in(executed(host, sealed(host, *commands)))


def heartbeat(host: Host) -> Heartbeat:
    return decode(verify(host.heartbeat("HEALTHY"), lambda _: [Hosted.key]), Heartbeat)


@contextmanager
def executing(hosted: Hosted, host: Host, *commands: Command) -> Iterator[list[Report]]:
    """Execute a group in a thread, and yield its reports. After the block, its steps end."""
    reports: list[Report] = []
    thread = threading.Thread(target=host.execute, args=(sealed(host, *commands), reports.append))
    thread.start()
    try:
        yield reports
    finally:
        hosted.finish()
        thread.join(10)
        assert not thread.is_alive()
        host.drop_leases(reports)
