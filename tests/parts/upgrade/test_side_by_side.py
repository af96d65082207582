"""An upgrade from the last release to the working tree, and the way back, under load and with nothing lost."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from embedded.client import Client
from embedded.postgres import Postgres
from embedded.valkey import Valkey
from tests.building import eventually
from tests.parts.recovery.cluster import LIVE
from tests.parts.recovery.history import histories
from tests.parts.recovery.verdict import faults
from tests.parts.recovery.workload import PIPELINE, runs_of
from tests.parts.upgrade import released
from tests.parts.upgrade.deployment import TENANT, Deployment, shared_settings
from tests.parts.upgrade.front import Front
from tests.parts.upgrade.load import Load

SOURCE = Path(__file__).parents[1] / "recovery/pipelines/v1"
PHASE_SECONDS = 1.0
"""The time for which both versions, or one of them, run under load before the next change."""


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
        found = histories(connection, pipeline_id=PIPELINE)
    assert faults(load.promises, found, runs_of(tmp_path / "runs"), load.needed()) == []
    assert len(load.promises) > 20
    assert longest_gap(load.submitted_at) < 5
    actors = {event.actor for history in found for event in history.events}
    assert {"worker:worker-old", "worker:worker-new"} <= actors
    assert old.errors() + new.errors() == []


def longest_gap(times: list[float]) -> float:
    """Return the longest time in seconds without an accepted submission."""
    return max(after - before for before, after in pairwise(times))
