"""An upgrade from the last release to the working tree, and the way back, under load and with nothing lost."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from random import Random

import psycopg
import pytest

from embedded.client import Client
from embedded.postgres import Postgres
from embedded.valkey import Valkey
from executions.models.states import TERMINAL
from tests.building import eventually
from tests.recovery.history import histories
from tests.recovery.verdict import Promise, Run, faults
from tests.recovery.workload import PIPELINE, jobs
from tests.upgrade import released
from tests.upgrade.deployment import TENANT, Deployment, shared_settings
from tests.upgrade.front import Front

SOURCE = Path(__file__).parents[1] / "recovery/pipelines/v1"
SUBMITTERS = 2
PAUSE_SECONDS = 0.4
PHASE_SECONDS = 1.0
"""The time for which both versions, or one of them, run under load before the next change."""


class Load:
    """Submits executions and answers their questions until it is told to stop submitting."""

    def __init__(self, front: Front, runs: Path) -> None:
        self.front = front
        self.runs = str(runs)
        self.jobs = jobs(Random(20), 3000)
        self.promises: list[Promise] = []
        self.submitted_at: list[float] = []
        self._next = iter(self.jobs)
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._over = threading.Event()
        targets = [self._submit] * SUBMITTERS + [self._answer]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_submitting(self) -> None:
        self._full.set()
        for thread in self._threads[:SUBMITTERS]:
            thread.join()

    def stop(self) -> None:
        self._full.set()
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _submit(self) -> None:
        while not self._full.wait(PAUSE_SECONDS):
            with self._lock:
                job = next(self._next)
            body = {"pipelineId": PIPELINE, "input": job.input(self.runs), "idempotencyKey": job.key}
            accepted = self.front.call("POST", "executions", body)
            if accepted is not None:
                pin = accepted["pin"]
                pinned = (pin["pipelineId"], pin["contractVersion"], pin["releaseVersion"])
                self.promises.append(job.promise(accepted["executionId"], pinned, self.runs))
                self.submitted_at.append(time.monotonic())

    def _answer(self) -> None:
        path = "interactions?status=pending&transport=interaction-api&pageSize=200"
        while not self._over.wait(0.2):
            for interaction in (self.front.call("GET", path) or {"items": []})["items"]:
                response = self.jobs[interaction["request"]["number"]].answer(interaction["request"])
                body = {"interactionId": interaction["interactionId"], "response": response}
                self.front.call("POST", "interactions/complete", body)

    def needed(self) -> dict[str, list[tuple[str, int]]]:
        accepted = {promise.key for promise in self.promises}
        return {job.key: list(job.steps("v1")) for job in self.jobs if job.key in accepted}


def runs_of(file: Path) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for line in file.read_text().splitlines():
        execution_id, step, version, attempt = line.split()
        found[execution_id].append(Run(execution_id, step, version, int(attempt)))
    return found


class Installation:
    """The servers, and the processes of the last release and of the working tree."""

    def __init__(self, folder: Path, up: ExitStack) -> None:
        self.postgres = up.enter_context(Postgres(folder / "postgres", durable=False))
        valkey = up.enter_context(Valkey(folder / "valkey", durable=False))
        servers = {
            "DATABASE_URL": self.postgres.url,
            "DATABASE_OWNER_URL": self.postgres.owner_url,
            "REDIS_URL": valkey.url,
            "REDIS_OWNER_URL": valkey.owner_url,
        }
        self.old = Deployment(released.last_release(folder / "release"), folder / "old", servers, {})
        shared = shared_settings(self.old.product)
        self.new = Deployment(released.present(), folder / "new", servers, shared)
        for each in (self.old, self.new):
            up.callback(each.product.stop)
        self.front = Front(TENANT)

    def live(self) -> int:
        query = "SELECT count(*) FROM executions_execution WHERE status <> ALL(%s)"
        with psycopg.connect(self.postgres.superuser_url()) as connection:
            [count] = connection.execute(query, [[state.value for state in TERMINAL]]).fetchone() or [0]
        return int(count)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with ExitStack() as up:
        yield Installation(tmp_path, up)


@pytest.mark.timeout(600)
def test_an_upgrade_under_load_and_the_way_back_lose_nothing(installation: Installation, tmp_path: Path) -> None:
    old, new, front = installation.old, installation.new, installation.front
    old.migrate()
    front.token = old.create_tenant()
    release = old.built("chaotic:pipeline", SOURCE, "v1")
    old.start(front, release)
    client = Client(old.product.url, TENANT, front.token)
    client.upload(PIPELINE, release, *release.parent.glob("*.zip"))
    assert client.verified(PIPELINE, "v1")["status"] == "REGISTERED"
    client.wait_for_worker("worker-old")
    client.activate(PIPELINE, "v1", "")
    load = Load(front, tmp_path / "runs")
    load.start()
    try:
        time.sleep(PHASE_SECONDS)
        new.migrate()
        new.start(front, release)
        Client(new.product.url, TENANT, front.token).wait_for_worker("worker-new")
        time.sleep(PHASE_SECONDS)
        old.stop(front)
        time.sleep(PHASE_SECONDS)
        old.start(front, release)
        Client(old.product.url, TENANT, front.token).wait_for_worker("worker-old")
        new.stop(front)
        time.sleep(PHASE_SECONDS)
        load.stop_submitting()
        eventually(lambda: installation.live() == 0, seconds=60, what="the end of all executions")
    finally:
        load.stop()
    assert front.errors == []
    with psycopg.connect(installation.postgres.superuser_url()) as connection:
        found = histories(connection, pipeline_id=PIPELINE)
    assert faults(load.promises, found, runs_of(tmp_path / "runs"), load.needed()) == []
    assert len(load.promises) > 50
    assert longest_gap(load.submitted_at) < 5
    actors = {event.actor for history in found for event in history.events}
    assert {"worker:worker-old", "worker:worker-new"} <= actors
    assert old.errors() + new.errors() == []


def longest_gap(times: list[float]) -> float:
    """Return the longest time in seconds without an accepted submission."""
    return max(after - before for before, after in pairwise(times))
