"""The script that creates the tables of a new database, compared with the migrations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker

from coordinator import schema
from tests.database_template import connected_to, dumped, empty_database, migrated
from tests.servers import NUMBER


@pytest.fixture
def empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with django_db_blocker.unblock(), empty_database(f"test_{NUMBER}_schema") as name, connected_to(name):
        yield name


def tables(name: str) -> tuple[list[bytes], set[tuple[str, str]]]:
    """Return the statements that create everything in a database, and the migrations that it has."""
    lines = dumped(name, "--schema-only")[0].splitlines()
    # A key of this dump alone
    kept = [line for line in lines if not line.startswith((b"\\restrict", b"\\unrestrict"))]
    return kept, set(MigrationRecorder(connection).applied_migrations())


def test_a_new_database_has_what_the_migrations_create(empty: str, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text(migrated(), encoding="utf-8")
    assert (tmp_path / "schema.sql").read_text() == schema.SCRIPT.read_text(), f"cp {tmp_path}/schema.sql coordinator/"
    call_command("migrate", verbosity=0)
    by_steps = tables(empty)
    with empty_database(f"test_{NUMBER}_script") as name, connected_to(name):
        with connection.execute_wrapper(_refuse_steps):
            call_command("migrate", verbosity=0)
        assert tables(name) == by_steps


def _refuse_steps(run: Any, statement: Any, *arguments: Any) -> Any:
    assert not str(statement).startswith("ALTER TABLE")
    return run(statement, *arguments)


def test_other_migrations_are_steps(empty: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MIGRATION_MODULES = {"executions": "tests.parts.upgrade.migrations"}
    newer = tmp_path / "schema.sql"
    newer.write_text(f"{schema.SCRIPT.read_text()}\n-- knox.0099_newer\n")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "SCRIPT", newer)
        schema.create(connection)
    assert not connection.introspection.table_names()
    call_command("migrate", verbosity=0)
    assert ("executions", "9000_next_column") in MigrationRecorder(connection).applied_migrations()
