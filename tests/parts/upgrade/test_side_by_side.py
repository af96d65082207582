"""An upgrade from the previous version to the next one, and the way back, under load and with nothing lost."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from embedded.children import Child
from embedded.client import Client
from embedded.postgres import Postgres
from embedded.product import Product
from embedded.valkey import Valkey
from tests.building import eventually, first_tenant
from tests.parts.recovery.cluster import LIVE, SETTINGS
from tests.parts.recovery.history import histories
from tests.parts.recovery.verdict import faults
from tests.parts.recovery.workload import PIPELINE, runs_of
from tests.parts.upgrade import released
from tests.parts.upgrade.front import Front
from tests.parts.upgrade.load import Load
from tests.parts.upgrade.released import Version
from tests.programs import output_of
from tests.words import words
from wire.worker_keys import worker_key

TENANT = "upgrading"
LANGUAGE = "org.example.language"
SCOPES = words("read payloads:read executions:submit interactions:complete releases:register releases:activate")
EXPECTED = "Execution moved to DLQ"
"""Some jobs of the workload fail permanently, which is logged as an error."""


class Deployment:
    """The web process, control worker, clock and worker of one version, which start and stop one by one."""

    def __init__(self, version: Version, folder: Path, servers: Mapping[str, str], shared: Mapping[str, str]) -> None:
        self.version = version
        settings = {**SETTINGS, **shared}
        self.product = Product(
            folder, servers, settings, web_processes=1, project=version.project, programs=version.programs
        )
        self._running: dict[str, Child] = {}

    def migrate(self) -> None:
        self.product.manage("migrate", "--verbosity=0", DATABASE_URL=self.product.servers["DATABASE_OWNER_URL"])

    def create_tenant(self) -> str:
        return first_tenant(self.product, TENANT, "operator", "correct-horse-battery-staple", SCOPES)

    def start(self, front: Front, release: Path) -> None:
        """Start every process, and put the web process into rotation. The worker hosts `release`.

        The other version may have built the release, in an environment without the tools of the tests.
        """
        name = self.product.folder.name
        self._running["control worker"] = self.product.start_control_worker(f"control-{name}")
        self._running["clock"] = self.product.start_clock()
        self._running["web"] = self.product.start_web()
        self._running["worker"] = self.product.start_worker(
            f"worker-{name}",
            release=release,
            tenant=TENANT,
            key=worker_key(self.product.environment["WORKER_SECRET"], TENANT).text,
            concurrency=4,
            options=["--allow-environment-drift"],
        )
        self.product.wait_until_ready()
        front.add(self.product)

    def stop(self, front: Front) -> None:
        """Stop the processes one after the other, each as an operator does."""
        front.take_out(self.product)
        for name in ("web", "clock", "control worker", "worker"):
            child = self._running.pop(name)
            child.stop(grace=30)
            self.product.children.started.remove(child)

    def errors(self) -> list[str]:
        """Return the lines of the logs that report an error, except failures of steps, which the workload wants."""
        lines = []
        for log in sorted((self.product.folder / "logs").glob("*.log")):
            marks = (" ERROR ", " CRITICAL ", *(() if log.name.startswith("worker") else ("Traceback",)))
            for line in log.read_text(encoding="utf-8").splitlines():
                if EXPECTED not in line and any(mark in line for mark in marks):
                    lines.append(f"{self.version.name}: {log.name}: {line}")
        return lines

    def built(self, reference: str, source: Path, version: str) -> Path:
        """Build a release with this version's tools, and return the path of its descriptor."""
        out = self.product.folder / "release"
        for command in (["build", reference], ["release", f"--release-version={version}"]):
            program = [str(self.version.programs / "python"), "-m", "pipelines", *command, f"--out={out}"]
            output_of(program, source, {"PYTHONPATH": str(self.version.project)})
        [descriptor] = out.rglob("pipeline-release.json")  # each version has its own layout
        return Path(descriptor)


def shared_settings(product: Product) -> dict[str, Any]:
    """Return the settings that must be the same in every process of an installation."""
    return {name: product.environment[name] for name in ("SECRET_KEY", "WORKER_SECRET", "ARTIFACT_ROOT", "PUBLIC_URL")}


SOURCE = Path(__file__).parents[1] / "recovery/pipelines/v1"
PHASE_SECONDS = 1.0
"""The time for which both versions, or one of them, run under load before the next change."""


class Installation:
    """The servers, and the processes of the previous and of the next version."""

    def __init__(self, folder: Path, up: ExitStack) -> None:
        self.postgres = up.enter_context(Postgres(folder / "postgres", durable=False))
        valkey = up.enter_context(Valkey(folder / "valkey", durable=False))
        servers = {
            "DATABASE_URL": self.postgres.url,
            "DATABASE_OWNER_URL": self.postgres.owner_url,
            "REDIS_URL": valkey.url,
            "REDIS_OWNER_URL": valkey.owner_url,
        }
        self.old = Deployment(released.previous_version(folder / "previous"), folder / "old", servers, {})
        shared = shared_settings(self.old.product)
        self.new = Deployment(released.next_version(folder / "next"), folder / "new", servers, shared)
        for installed in (self.old, self.new):
            up.callback(installed.product.stop)
        self.front = Front(TENANT)

    def live(self) -> int:
        with psycopg.connect(self.postgres.superuser_url()) as connection:
            [count] = connection.execute(LIVE).fetchone() or [0]
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
        eventually(lambda: installation.live() == 0, seconds=150, what="the end of all executions")
    finally:
        load.stop()
    assert front.errors == []
    with psycopg.connect(installation.postgres.superuser_url()) as connection:
        ended = histories(connection, pipeline_id=PIPELINE)
        assert connection.execute("SELECT DISTINCT next_column FROM executions_execution").fetchall() == [("",)]
    assert faults(load.promises, ended, runs_of(tmp_path / "runs"), load.needed()) == []
    assert len(load.promises) > 20
    gaps = [after - before for before, after in pairwise(load.submitted_at)]
    assert max(gaps) < 5, "the longest time in seconds without an accepted submission"
    actors = {event.actor for history in ended for event in history.events}
    assert {"worker:worker-old", "worker:worker-new"} <= actors
    assert old.errors() + new.errors() == []


def test_the_previous_version_refuses_a_release_that_uses_what_it_does_not_know(installation: Installation) -> None:
    old, new, front = installation.old, installation.new, installation.front
    old.migrate()
    front.token = old.create_tenant()
    release = new.built("language:pipeline", SOURCE.parents[2] / "upgrade/language", "v1")

    def registered(by: Deployment, name: str) -> dict[str, Any]:
        by.product.start_web()
        by.product.start_control_worker(f"control-{name}")
        by.product.wait_until_ready()
        client = Client(by.product.url, TENANT, front.token)
        client.upload(LANGUAGE, release, *release.parent.glob("*.zip"))
        return client.verified(LANGUAGE, "v1")

    refused = registered(old, "old")
    assert (refused["status"], "takesRequest" in str(refused)) == ("REJECTED", True)
    key = worker_key(old.product.environment["WORKER_SECRET"], TENANT).text
    worker = old.product.start_worker(
        "worker-old", release=release, tenant=TENANT, key=key, options=["--allow-environment-drift"]
    )
    assert worker.wait(60) != 0
    assert "MODULE_FAILED: module language cannot be imported" in worker.log_tail()
    old.product.stop()
    new.migrate()
    accepted = registered(new, "new")
    assert accepted["status"] == "REGISTERED", accepted
    assert set(accepted["declarations"]) == {"concurrency", "search", "steps"}
