import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from embedded.guard import descendants
from embedded.postgres import remove_place
from embedded.product import Backing
from tests.building import eventually
from tests.embedded.test_children import gone

SUPERVISOR = Path(__file__).with_name("supervisor.py")
ROOT = Path(__file__).parents[2]


def start_supervisor(folder: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, str(SUPERVISOR), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line, "the supervisor ended before its servers ran"
    return process, json.loads(line)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_place(tmp_path / "postgres")


def test_no_process_outlives_a_killed_supervisor_and_servers_restart_with_their_data(folder: Path) -> None:
    process, urls = start_supervisor(folder)
    with psycopg.connect(urls["DATABASE_OWNER_URL"]) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'here' AS text")
    everyone = descendants(process.pid)
    # Three guards, valkey, the postmaster with at least five child processes, and four sleepers.
    assert len(everyone) >= 14
    process.kill()
    with (
        Backing(folder, outside={}) as backing,
        psycopg.connect(backing.environment()["DATABASE_OWNER_URL"]) as connection,
    ):
        assert connection.execute("SELECT text FROM note").fetchone() == ("here",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    process.wait()
    eventually(lambda: all(map(gone, everyone)), seconds=10, what="the end of all")


def test_an_outside_server_replaces_only_its_local_counterpart(folder: Path) -> None:
    outside = {"DATABASE_URL": "postgresql://elsewhere/db", "DATABASE_OWNER_URL": "postgresql://owner@elsewhere/db"}
    with Backing(folder, durable=False, outside=outside) as backing:
        found = backing.environment()
        assert found.items() >= outside.items()
        with redis.Redis.from_url(found["REDIS_URL"]) as client:
            assert client.ping()
