"""`coordinator migrate` next to running processes: one at a time, holding up no queries, and clear about itself."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import psycopg
import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from coordinator.management.commands import migrate as command
from embedded.product import Product
from tests.broker import broker_urls
from tests.building import eventually
from tests.database_template import connected_to, database
from tests.parts.upgrade import released
from tests.servers import NUMBER, ordinary_url

TABLE = "executions_execution"
COLUMN = "next_column"
"""The first migration of the next version adds this column. It needs the table alone."""


@pytest.fixture
def older(django_db_setup: None, django_db_blocker: Any, settings: Any) -> Iterator[str]:
    with django_db_blocker.unblock(), database(f"test_{NUMBER}_older") as name, connected_to(name):
        settings.MIGRATION_MODULES = {"executions": "tests.parts.upgrade.migrations"}
        yield name


@contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    with psycopg.connect(**connection.get_connection_params()) as session:
        yield session


def has_column() -> bool:
    with connection.cursor() as cursor:
        return COLUMN in [column.name for column in connection.introspection.get_table_description(cursor, TABLE)]


def migrate() -> None:
    call_command("migrate", verbosity=0, stderr=StringIO())


def health(product: Product) -> str:
    """Return what the readiness probe says about the migrations, and its status."""
    try:
        response = requests.get(f"{product.url}/health/ready", timeout=5)
    except requests.RequestException:
        return ""
    return f"{response.json()['migrations']} of {response.status_code}"


def test_a_migration_waits_its_turn_without_holding_up_queries(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LOCK_SECONDS", 0.2)
    changes: list[str | None] = []

    def submit_as_others(done: threading.Event) -> None:
        with another_session() as writer:
            # The server measures the wait, so a busy machine does not count.
            writer.execute("SET lock_timeout = '1500ms'")
            writer.commit()
            while not done.is_set():
                try:
                    changes.append(writer.execute(f"UPDATE {TABLE} SET input = input WHERE id IS NULL").statusmessage)
                except psycopg.errors.LockNotAvailable as error:
                    changes.append(str(error))
                writer.commit()
                time.sleep(0.01)

    migrated = threading.Event()
    others = threading.Thread(target=submit_as_others, args=(migrated,))
    with another_session() as long:
        long.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
        release = threading.Timer(2, long.rollback)
        for thread in (others, release):
            thread.start()
        migrate()
        migrated.set()
        for thread in (others, release):
            thread.join()
    assert has_column()
    assert set(changes) == {"UPDATE 0"}


def test_a_migration_that_gets_no_lock_says_so_and_applies_nothing(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(command, "RETRY_SECONDS", 0.2)
    with another_session() as long:
        long.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
        with pytest.raises(CommandError, match=r"got no lock within 0\.2 s"):
            migrate()
    assert not has_column()
    assert ("executions", "9000_next_column") not in MigrationRecorder(connection).applied_migrations()


def test_only_one_process_migrates_at_a_time(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RETRY_SECONDS", 0.2)
    with another_session() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [command.LOCK])
        with pytest.raises(CommandError, match="Another process still migrates"):
            migrate()
    assert not has_column()
    migrate()
    assert has_column()


def test_a_newer_process_waits_for_migrations_and_an_older_one_does_not_mind_them(older: str, tmp_path: Any) -> None:
    servers = {"DATABASE_URL": ordinary_url(older), **broker_urls()}
    newer = released.next_version(tmp_path / "next")
    product = Product(tmp_path, servers, {}, web_processes=1, project=newer.project)
    try:
        control = product.start_control_worker()
        assert control.wait(60) == 1
        assert "Run coordinator migrate with this version first" in control.log_tail()
        product.children.started.clear()
        product.collect_static_files()
        web = product.start_web()
        eventually(lambda: "DOWN" in health(product), what="an answer of the readiness probe")
        assert health(product) == "DOWN of 503"
        assert "Run coordinator migrate with this version first" in web.log.read_text()
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('tenancy', '9999_new', now())")
        migrate()
        eventually(lambda: health(product) == "UP of 200", what="ready")
    finally:
        product.stop()
