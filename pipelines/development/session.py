"""The session of ``pipelines dev``: on each save it builds a release, publishes, hosts and activates it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from coordinator_client import api
from coordinator_client.api import Client, Request, items_of, path
from coordinator_client.errors import ClientError, Refused
from pipelines.development import coordinator
from pipelines.development.building import Built, build
from pipelines.development.following import Follower
from pipelines.development.hosting import Worker, end_all
from pipelines.development.sources import Sources
from pipelines.development.terminal import Terminal, counted
from pipelines.errors import DefinitionError
from pipelines.release import publish
from pipelines.release.descriptor import release
from pipelines.release.download import download
from wire.documents.descriptor import DESCRIPTOR_NAME

WATCH_SECONDS: Final = 0.3
"""How often the files are looked at."""
FOLLOW_SECONDS: Final = 0.6
"""How often the coordinator is asked about executions."""
PLAN_SECONDS: Final = 3.0
"""How often the coordinator is asked which older workers may end."""
HOSTED_SECONDS: Final = 60.0
END_SECONDS: Final = 10.0
"""How long Ctrl-C waits for running steps."""
MOST_SHORT_LIVES: Final = 3
"""A worker that ended so often in a row soon after its start is not started again."""
REASON: Final = "pipelines dev"
_VERSION: Final = re.compile(r"dev-([1-9]\d{0,8})")
_NEWEST: Final = 500
"""How many of the newest releases are read to find the last number."""
_OPEN: Final = frozenset({"openExecutions", "awaiting"})
"""The reasons for which a release that is not active needs workers."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Session:
    """Releases one pipeline again and again. All its methods belong to one thread."""

    def __init__(
        self,
        reference: str,
        client: Client,
        folder: Path,
        *,
        given: Callable[[], Any] | None = None,
        given_file: Path | None = None,
    ) -> None:
        """`folder` is private. `given` reads the input to submit after each activation; `given_file` is watched."""
        self._reference = reference
        self._client = client
        self._given = given
        self._folder = folder
        self._terminal = Terminal()
        self._environment = coordinator.children_environment(client.connection.tenant) | {"TMPDIR": str(folder)}
        self._sources = Sources(Path.cwd())
        if given_file is not None:
            self._sources.add([str(given_file.absolute())])
        self._follower = Follower(client, self._terminal.say)
        self._pipeline_id = ""
        self._digest = ""
        """The artifact of the active release."""
        self._active: Worker | None = None
        self._spare: Worker | None = self._new_worker()
        """Has loaded what workers need, which takes most of the time of a start. It waits for the next release."""
        self._older: list[Worker] = []
        self._hosted: set[str] = set()
        """The releases that this session has hosted."""
        self._submitted: Any = None
        self._next_look = self._next_plan = 0.0
        self._problem = ""
        """Why the coordinator did not answer the last time, which is printed once."""

    def run(self) -> None:
        """Release the pipeline now and on each save, until Ctrl-C. Then end all workers.

        Raises ``DefinitionError`` NOT_FOR_DEVELOPMENT, and ``ClientError`` if the coordinator does not answer at first.
        """
        try:
            self._client.get("pipelines", pageSize=1)
            saved_at: float | None = time.time()
            while True:
                if saved_at is not None:
                    self._release(saved_at)
                time.sleep(WATCH_SECONDS)
                self._follow()
                saved_at = self._sources.saved_at()
        except KeyboardInterrupt:
            self._close()
        finally:
            end_all(filter(None, [self._spare, self._active, *self._older]), 0)

    def _release(self, saved_at: float) -> None:
        """Build and release what was saved. Print errors of the author and of the coordinator."""
        try:
            built = build(self._reference, self._folder / "build", self._environment, self._terminal)
            if built is not None:
                self._sources.add(built.sources)
                self._release_built(built, saved_at)
        except (DefinitionError, ClientError) as error:
            if isinstance(error, DefinitionError) and error.code == "NOT_FOR_DEVELOPMENT":
                raise
            self._terminal.error(error)
        self._terminal.line(f"watching {counted(self._sources.count, 'file')}; Ctrl-C ends")

    def _release_built(self, built: Built, saved_at: float) -> None:
        """Release the artifact if it is another one, and submit the input."""
        if not self._pipeline_id:
            self._begin(built.pipeline_id)
        if built.pipeline_id != self._pipeline_id:
            raise DefinitionError(
                "PIPELINE_MISMATCH",
                f"the pipeline is {built.pipeline_id} now, not {self._pipeline_id}; start `pipelines dev` again",
            )
        if built.digest == self._digest and self._active is not None and self._active.status is None:
            self._terminal.say("unchanged", f"{self._active.version} stays active")
            self._submit(again=False)
        else:
            self._replace(built, saved_at)
            self._submit()

    def _begin(self, pipeline_id: str) -> None:
        """Look at the pipeline for the first time.

        Raises ``DefinitionError`` NOT_FOR_DEVELOPMENT if the coordinator of another machine runs a release that
        `pipelines dev` did not make.
        """
        active = self._active_version(pipeline_id)
        url = self._client.connection.url
        if active and not _VERSION.fullmatch(active) and urlsplit(url).hostname not in _LOCAL:
            raise DefinitionError(
                "NOT_FOR_DEVELOPMENT",
                f"release {active} of {pipeline_id} is active at {url}, and `pipelines dev` would replace it; "
                "use a coordinator of your own: `coordinator dev`",
            )
        self._follower.begin(pipeline_id)
        self._pipeline_id = pipeline_id

    def _active_version(self, pipeline_id: str) -> str:
        try:
            return str(self._client.get(path("pipelines", pipeline_id))["activeReleaseVersion"] or "")
        except Refused as refused:
            if refused.status != 404:
                raise
            return ""

    def _resume(self, plan: list[dict[str, Any]]) -> None:
        """Host older releases of development whose executions have not finished and that no worker hosts.

        An earlier session has published them, so the coordinator has their artifacts.
        """
        for planned in plan:
            version, reasons = planned["releaseVersion"], set(planned["reasons"])
            if version in self._hosted or not _VERSION.fullmatch(version) or planned["liveWorkers"]:
                continue
            if "active" in reasons or not _OPEN & reasons:
                continue
            self._hosted.add(version)  # also if this fails, which is then not tried again
            downloaded = download(self._client, self._pipeline_id, version, self._folder, progress=_ignored)
            self._older.append(self._worker(version, downloaded / DESCRIPTOR_NAME))
            self._terminal.say("resumed", f"{version}, which has unfinished executions")

    def _plan(self) -> list[dict[str, Any]]:
        planned = items_of(self._client.get("worker-plan"))
        return [release for release in planned if release["pipelineId"] == self._pipeline_id]

    def _replace(self, built: Built, saved_at: float) -> None:
        """Publish, host and activate what was built. If this fails, the worker of before stays."""
        version, is_known = self._version_of(built.digest)
        shutil.rmtree(self._folder / version, ignore_errors=True)
        written = release(self._folder, [built.artifact], release_version=version)
        began = time.monotonic()
        worker = self._worker(version, written.path)
        try:
            if not is_known:
                with self._terminal.timed("published") as say:
                    self._publish(written.path.parent)
                    say(version)
            self._await(worker)
            self._terminal.say("hosted", f"{version} ({time.monotonic() - began:.2f} s)")
            with self._terminal.timed("active") as say:
                active = self._active_version(self._pipeline_id)
                if active != version:
                    publish.activate(self._client, self._pipeline_id, version, REASON, active)
                say(version if active in {"", version} else f"{version} replaces {active}")
        except BaseException:
            end_all([worker], 0)
            raise
        self._terminal.say("ready", f"{version}, {time.time() - saved_at:.2f} s after the save")
        if self._active is not None and not self._active.is_ending:
            self._older.append(self._active)
        self._active, self._digest = worker, built.digest
        self._next_plan = time.monotonic() + PLAN_SECONDS

    def _version_of(self, digest: str) -> tuple[str, bool]:
        """Return the newest release of development and True if it has this artifact, or else the next number."""
        try:
            releases = list(self._client.pages(path("pipelines", self._pipeline_id, "releases"), {}, _NEWEST))
        except Refused as refused:
            if refused.status != 404:
                raise
            releases = []
        numbered = {
            int(match[1]): release
            for release in releases
            if (match := _VERSION.fullmatch(release["releaseVersion"])) is not None
        }
        newest = max(numbered, default=0)
        if newest and numbered[newest]["status"] == "REGISTERED":
            version = f"dev-{newest}"
            details = self._client.get(path("pipelines", self._pipeline_id, "releases", version))
            if [artifact["digest"] for artifact in details["artifacts"]] == [digest]:
                return version, True
        return f"dev-{newest + 1}", False

    def _worker(self, version: str, descriptor: Path) -> Worker:
        """Return a worker that hosts the release: the spare one, if it runs."""
        self._hosted.add(version)
        worker, self._spare = self._spare, None
        if worker is None or worker.status is not None:
            worker = self._new_worker()
        worker.host(version, descriptor)
        return worker

    def _new_worker(self) -> Worker:
        return Worker(self._environment, lambda version, line: self._terminal.line(f"{version:<10} | {line}"))

    def _publish(self, folder: Path) -> None:
        published = publish.publish(folder, self._client, progress=_ignored)
        if published["status"] != "REGISTERED":
            findings = "".join(f"\n  {finding['code']}: {finding['message']}" for finding in published["findings"])
            raise DefinitionError("INVALID_RELEASE", f"the release is {published['status']}{findings}")

    def _await(self, worker: Worker) -> None:
        """Return when the coordinator gives work to the worker. Raises ``DefinitionError`` WORKER_ENDED."""
        query = {"pipelineId": self._pipeline_id, "releaseVersion": worker.version}
        deadline = time.monotonic() + HOSTED_SECONDS
        reason = "it has not reported itself"
        while time.monotonic() < deadline:
            if worker.status is not None:
                worker.drain()
                raise DefinitionError(
                    "WORKER_ENDED",
                    f"the worker of {worker.version} ended with status {worker.status}, as it says above",
                )
            for listed in items_of(self._client.get("workers", **query)):
                if listed["workerId"] == worker.worker_id:
                    if listed["state"] == "HEALTHY" and listed["ineligibleReason"] is None:
                        return
                    reason = listed["ineligibleReason"] or f"it is {listed['state']}"
            time.sleep(0.05)
        raise DefinitionError(
            "WORKER_ENDED", f"the worker of {worker.version} gets no work after {HOSTED_SECONDS:g} s: {reason}"
        )

    def _submit(self, *, again: bool = True) -> None:
        """Submit the input. With `again` also if it is that of the last submission."""
        if self._given is None or ((value := self._given()) == self._submitted and not again):
            return
        self._submitted = value
        body = {"pipelineId": self._pipeline_id, "input": value, "idempotencyKey": f"dev-{api.operation_key()}"}
        accepted = self._client.call(Request("POST", "executions", body=body))
        self._terminal.say("submitted", f"{accepted['executionId']}  {accepted['pin']['releaseVersion']}")
        self._next_look = 0.0

    def _follow(self) -> None:
        """Look after executions and workers. If the coordinator does not answer now, it is asked again later."""
        now = time.monotonic()
        if not self._pipeline_id or now < self._next_look:
            return
        self._next_look = now + FOLLOW_SECONDS
        self._restart()
        self._spare = self._spare or self._new_worker()
        try:
            self._follower.look()
            if now >= self._next_plan:
                self._next_plan = now + PLAN_SECONDS
                plan = self._plan()
                self._end_older(
                    {release["releaseVersion"] for release in plan if not release.get("canStop", release.get("mayGo"))}
                )
                self._resume(plan)
            self._problem = ""
        except (DefinitionError, ClientError) as error:
            if str(error) != self._problem:
                self._terminal.error(error)
            self._problem = str(error)
            self._next_look = time.monotonic() + 10 * FOLLOW_SECONDS

    def _end_older(self, needed: set[str]) -> None:
        for worker in self._older:
            if worker.version not in needed and worker.status is None:
                worker.end()
        for worker in [older for older in self._older if older.status is not None and older.version not in needed]:
            worker.kill()
            self._older.remove(worker)
            self._terminal.say("ended", f"{worker.version}: its executions have finished")

    def _restart(self) -> None:
        """Start workers again that a step has ended, but not those that end soon after each start."""
        for worker in filter(None, [self._active, *self._older]):
            if worker.status is None or worker.is_ending:
                continue
            text = f"the worker of {worker.version} ended with status {worker.status}"
            if worker.short_lives < MOST_SHORT_LIVES:
                self._terminal.say("restarted", text)
                worker.restart()
            else:
                self._terminal.say("ended", f"{text} again and again; save a file to start it")
                worker.is_ending = True

    def _close(self) -> None:
        workers = [*self._older, *([self._active] if self._active else [])]
        running = [worker for worker in workers if worker.status is None]
        if running:
            self._terminal.say(
                "ending", f"{', '.join(worker.version for worker in running)}; Ctrl-C again ends at once"
            )
        with suppress(KeyboardInterrupt):
            end_all(running, END_SECONDS)
        with suppress(KeyboardInterrupt, ClientError):
            if self._pipeline_id:
                self._follower.look()
                self._say_what_remains()

    def _say_what_remains(self) -> None:
        for planned in self._plan():
            if _VERSION.fullmatch(planned["releaseVersion"]) and _OPEN & set(planned["reasons"]):
                self._terminal.say(
                    "unfinished", f"executions of {planned['releaseVersion']} continue when `pipelines dev` runs again"
                )


def _ignored(_sent: int, _total: int) -> None:
    """The terminal shows stages, and no bytes."""
