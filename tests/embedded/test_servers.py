import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.children import ChildError
from embedded.guard import descendants
from embedded.postgres import Postgres, remove_place
from embedded.product import Backing
from embedded.valkey import Valkey, worker_url
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
        environment = backing.environment()
        assert environment.items() >= outside.items()
        with redis.Redis.from_url(environment["REDIS_URL"]) as client:
            assert client.ping()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.remove()


def test_a_second_server_on_the_same_data_is_an_error(postgres: Postgres) -> None:
    with pytest.raises(ChildError, match="another server uses"):
        Postgres(postgres.folder).start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_no_role_is_a_superuser_or_bypasses_row_security(postgres: Postgres) -> None:
    for url in (postgres.url, postgres.owner_url):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles "
                "WHERE rolname = current_user"
            ).fetchone()
            assert row == (False, False, False, False)


def test_only_the_current_user_can_read_the_passwords(postgres: Postgres) -> None:
    file = postgres.folder / "postgres-passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(set(json.loads(file.read_text()).values())) == 3


def test_no_command_line_and_no_readable_file_contains_the_password(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        assert server.child is not None
        for url in (server.url, server.owner_url, worker_url(server.owner_url, "acme")):
            password = urlsplit(url).password
            assert password
            assert password not in Path(f"/proc/{server.child.pid}/cmdline").read_text()
            assert password not in (tmp_path / "valkey.acl").read_text()
        assert (tmp_path / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600


def test_data_that_is_a_second_old_survives_sigkill(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with server:
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            assert client.waitaof(1, 0, 5000) == [1, 0]
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") == b"value"


def test_workers_keep_their_user_when_the_server_loses_its_data(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with server:
        urls = [worker_url(server.owner_url, "acme") for _ in range(2)]
        server.kill()
        server.remove_data()
        server.start()
        for url in urls:
            with redis.Redis.from_url(url) as client:
                assert client.ping()
        with redis.Redis.from_url(server.owner_url) as owner:
            user: Any = owner.acl_getuser("worker-acme")
            assert len(user["passwords"]) == 2
            assert len(user["selectors"]) == 1


def test_strangers_and_the_product_cannot_administer_the_server(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        for command in ("ACL LIST", "CONFIG GET *", "FLUSHALL", "KEYS *", "MONITOR", "SHUTDOWN", "CLIENT LIST"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        with (
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            stranger.ping()
