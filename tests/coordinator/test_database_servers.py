import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from pytest_django import DjangoDbBlocker

from coordinator import boot_checks, health
from coordinator.monitoring import process
from embedded.postgres import Postgres
from foundation.database.postgresql import servers
from foundation.database.postgresql.outage import is_outage
from foundation.database.postgresql.url import connection_settings
from tests.building import eventually

PORT = "SELECT current_setting('port')::int"


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A primary. `promoted` begins as its copy."""
    server = Postgres(tmp_path_factory.mktemp("former"), durable=False)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def promoted(former: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A copy of the former primary that was promoted. Both run."""
    former.stop()
    folder = tmp_path_factory.mktemp("promoted")
    shutil.copy(former.folder / "postgres-passwords.json", folder)
    server = Postgres(folder, durable=False)
    cluster = folder / "postgres" / "cluster"
    subprocess.run(["cp", "-a", former.folder / "postgres" / "cluster", cluster], check=True)
    with (cluster / "postgresql.auto.conf").open("a") as file:
        file.write("restore_command = 'false'\nhot_standby = off\n")
    (cluster / "recovery.signal").touch()
    (cluster / "recovery.signal").chmod(0o666)
    server.start()
    former.start()
    yield server
    server.remove()


@pytest.fixture(autouse=True)
def guarded_process(settings: Any, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings.DATABASE_ANSWER_SECONDS = 1.0
    with django_db_blocker.unblock():
        connections["default"].ensure_connection()  # Django asks once for the types of the database
        connections["default"].close()
        broker: Any
        with current_app.pool.acquire() as broker:
            broker.default_channel.client.delete(process.TIMELINES_KEY)
        process.guard_database()
        yield
    servers.guard(None)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Connects as a process whose `DATABASE_URL` names these servers."""
    opened = []

    def connect(*listed: Postgres, options: str = "") -> Any:
        host, port = ",".join("127.0.0.1" for _ in listed), ",".join(str(server.port) for server in listed)
        url = connection_settings(f"{listed[0].url}?connect_timeout=2{options}")
        members = {**connections["default"].settings_dict, **url, "HOST": host, "PORT": port}
        monkeypatch.setitem(connections.settings, "default", members)
        opened.append(connections.create_connection("default"))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def port(connection: Any) -> int:
    """Return the port of the server that the next request uses."""
    connection.health_check_enabled = True
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute(PORT)
        return int(cursor.fetchone()[0])


def test_a_former_primary_that_comes_back_is_refused(
    former: Postgres, promoted: Postgres, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    old = connect(former, promoted)
    assert port(old) == former.port, "nothing is known of a promotion"
    assert port(connect(promoted)) == promoted.port
    assert port(old) == promoted.port, "a connection that is open is replaced, too"
    assert f"127.0.0.1:{former.port} on timeline 1 of" in caplog.text
    caplog.clear()
    assert port(connect(former, promoted)) == promoted.port
    assert caplog.text == "", "the primary that was used last is tried first"
    with pytest.raises(OperationalError, match="Refused") as caught:
        port(connect(former))
    assert (is_outage(caught.value), health.database.status()) == (True, "DOWN")
    with pytest.raises(psycopg.OperationalError, match="Refused"):
        servers.short_connection(connect(former).settings_dict)


def test_a_new_process_learns_that_a_primary_was_replaced(former: Postgres, promoted: Postgres, connect: Any) -> None:
    port(connect(promoted))
    process.exchange()
    process.guard_database()
    assert port(connect(former, promoted)) == promoted.port
    process.guard_database()
    with pytest.raises(OperationalError, match="Refused"):
        port(connect(former))


def test_a_running_process_does_not_change_to_another_cluster() -> None:
    known = servers.Timelines(lambda system: 0)
    assert known.admit(servers.Server(1, 7)) == servers.Server(1, 7)
    assert [known.admit(servers.Server(*row)) for row in ((2, 9), (1, 6))] == [None, None]


def test_a_pooler_that_leads_to_a_former_primary_is_noticed(former: Postgres, promoted: Postgres, connect: Any) -> None:
    pooled = connect(promoted)
    pooled.settings_dict["POOLER"] = "transaction"
    port(pooled)
    first = pooled.connection
    with pytest.raises(OperationalError, match="Refused"):
        connect(former).ensure_connection()
    port(pooled)
    assert pooled.connection is not first


def test_a_silent_host_costs_no_more_than_one_statement(former: Postgres, promoted: Postgres, connect: Any) -> None:
    used = connect(former, promoted)
    assert [port(used), port(used)] == [former.port] * 2
    with used.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        frozen = [int(cursor.fetchone()[0]), former.child.pid if former.child else 0]
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(OperationalError) as caught:
            port(used)
        assert is_outage(caught.value)
        assert port(used) == promoted.port
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def silent_standby(promoted: Postgres) -> Iterator[None]:
    """A synchronous standby that does not answer."""
    with psycopg.connect(promoted.superuser_url(), autocommit=True) as owner:
        owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
        owner.execute("SELECT pg_reload_conf()")
        eventually(lambda: owner.execute("SHOW synchronous_standby_names").fetchone() == ("missing",), what="reload")
        yield
        owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
        owner.execute("SELECT pg_reload_conf()")


def test_a_silent_standby_delays_commits_briefly(promoted: Postgres, connect: Any, silent_standby: None) -> None:
    used = connect(promoted, options="&options=-csynchronous_commit%3Don")
    assert port(used) == promoted.port
    assert health.database.status() == "DOWN"
    began = time.monotonic()
    with pytest.raises(OperationalError) as caught, used.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
    assert (is_outage(caught.value), time.monotonic() - began < 5) == (True, True)
    assert port(used) == promoted.port, "reading continues"


def test_a_standby_is_required(promoted: Postgres, connect: Any, settings: Any, request: pytest.FixtureRequest) -> None:
    settings.DATABASE_REQUIRES_SYNCHRONOUS_STANDBY = True
    with pytest.raises(ImproperlyConfigured, match="synchronous_standby_names=''"):
        boot_checks.check(connect(promoted, options="&options=-csynchronous_commit%3Don"))
    request.getfixturevalue("silent_standby")
    with pytest.raises(ImproperlyConfigured, match="synchronous_commit='local'"):
        boot_checks.check(connect(promoted, options="&options=-csynchronous_commit%3Dlocal"))
    boot_checks.check(connect(promoted, options="&options=-csynchronous_commit%3Don"))


def test_a_read_only_database_is_not_ready(promoted: Postgres, connect: Any) -> None:
    connect(promoted)
    assert health.database.status() == "UP"
    connect(promoted, options="&options=-cdefault_transaction_read_only%3Don")
    assert health.database.status() == "DOWN"
