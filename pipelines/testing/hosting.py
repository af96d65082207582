"""Hosts pipelines on a coordinator of this machine, which lives as long as the tests need it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coordinator_client.errors import ClientError
from pipelines.authoring.definition import Pipeline
from pipelines.development.child import Child
from pipelines.errors import DefinitionError
from pipelines.failures import show_authored_frames

if TYPE_CHECKING:
    from coordinator_client import api
    from pipelines.client import Client

_WORKER_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.05


@contextmanager
def coordinator(*pipelines: Pipeline) -> Iterator[Client]:
    """Start a coordinator, host pipelines on it, and yield a client. All of it ends with the block or this process.

    Each pipeline is built, released, published, hosted by a worker process and activated, as in production. Starting
    takes seconds, so use one block for many tests: a fixture with the scope of the session. The client may answer each
    question, also one with an assignee or a group: the policy ``recipients`` of the pipelines is ``inform``.

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
    from coordinator_client.profiles import LOCAL, variables_in
    from pipelines.client import Client
    from pipelines.development.local_coordinator import can_start, start
    from pipelines.release.publish import publish

    if not can_start():
        raise DefinitionError(
            "COORDINATOR_NOT_INSTALLED",
            'this starts a coordinator, which is not installed here: pip install "durable-coordinator[embedded]"',
        )
    temporary = tempfile.TemporaryDirectory(prefix="pipelines-", ignore_cleanup_errors=True)
    folder = Path(running.enter_context(temporary))
    descriptors = [_released(pipeline, folder / f"release-{place}") for place, pipeline in enumerate(pipelines, 1)]
    data = folder / "data"
    running.callback(_remove_database, data / "postgres")
    started = start(data, folder)
    running.callback(started.end)
    started.wait()
    variables = {"TMPDIR": str(folder), **variables_in(data / LOCAL.name)}
    url, tenant, token = (variables[f"COORDINATOR_{name}"] for name in ("URL", "TENANT", "TOKEN"))
    publisher = api.Client(api.Connection(url, tenant, token))
    hosted = []
    for place, descriptor in enumerate(descriptors, 1):
        worker = Child(f"worker-{place}", "pipelines.cli", "worker", "--release", descriptor, environment=variables)
        running.callback(worker.kill)
        hosted.append((worker, publish(descriptor.parent, publisher, progress=lambda *_: None)))
    for descriptor, (worker, release) in zip(descriptors, hosted, strict=True):
        _let_all_answer(release, publisher)
        _activate(descriptor, release, worker, publisher)
    return running.enter_context(Client(url, tenant, token))


def _let_all_answer(release: dict[str, Any], client: api.Client) -> None:
    """Let the only user answer the questions for others. Coordinators of before enforce no recipients."""
    from coordinator_client.api import Request, path

    policy = path("pipelines", release["pipelineId"])
    if "recipients" in client.get(policy):
        client.call(Request("PATCH", policy, body={"recipients": "inform"}))


def _released(pipeline: Pipeline, folder: Path) -> Path:
    """Build and release a pipeline into a folder, and return its descriptor."""
    from pipelines.release.descriptor import release
    from pipelines.release.packaging import build

    build(pipeline, folder)
    return release(folder).path


def _remove_database(link: Path) -> None:
    """Remove the database, which is outside of the temporary folder if root runs the tests."""
    shutil.rmtree(link.resolve(), ignore_errors=True)


def _activate(descriptor: Path, release: dict[str, Any], worker: Child, client: api.Client) -> None:
    """Activate a published release as soon as its worker can run it."""
    from pipelines.release.publish import WORKER_REQUIRED, activate_published

    if release["status"] != "REGISTERED":
        findings = "; ".join(f"{finding['code']}: {finding['message']}" for finding in release["findings"])
        raise DefinitionError("INVALID_RELEASE", f"the coordinator says {release['status']}: {findings}")
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
