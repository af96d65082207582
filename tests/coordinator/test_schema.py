"""The script that creates the tables of a new database, compared with the migrations."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker

from coordinator import schema
from coordinator.backups import find_program
from tests.database_template import connected_to, empty_database
from tests.schema_script import written
from tests.servers import NUMBER


@pytest.fixture
def empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), empty_database(f"test_{NUMBER}_schema") as name, connected_to(name):
        yield


def dumped() -> str:
    """Return the statements that create everything in the connected database."""
    parameters = connection.get_connection_params()
    address = {key: str(parameters[key]) for key in ("host", "port", "user", "dbname") if parameters.get(key)}
    connection.ensure_connection()
    done = subprocess.run(
        [
            find_program("pg_dump", connection.connection.info.server_version),
            "--schema-only",
            "--dbname=" + " ".join(f"{key}={value}" for key, value in address.items()),
        ],
        env={**os.environ, "PGPASSWORD": str(parameters["password"])},
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)


def test_a_new_database_has_what_the_migrations_create(empty: None, django_db_blocker: DjangoDbBlocker) -> None:
    script = written()
    assert script == schema.SCRIPT.read_text(encoding="utf-8"), "Run python -m tests.schema_script"
    call_command("migrate", verbosity=0)
    by_steps = dumped(), sorted(MigrationRecorder(connection).applied_migrations())
    with empty_database(f"test_{NUMBER}_script") as name, connected_to(name):
        with connection.execute_wrapper(_refuse_steps):
            call_command("migrate", verbosity=0)
        assert (dumped(), sorted(MigrationRecorder(connection).applied_migrations())) == by_steps


def _refuse_steps(run: Any, statement: Any, parameters: Any, many: bool, context: Any) -> Any:
    """No statement follows the script."""
    assert not str(statement).startswith("ALTER TABLE")
    return run(statement, parameters, many, context)


def test_the_migrations_of_another_version_of_a_library_are_steps(
    empty: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIGRATION_MODULES = {"executions": "tests.parts.upgrade.migrations"}
    newer = tmp_path / "schema.sql"
    newer.write_text(f"{schema.SCRIPT.read_text()}\n-- knox.0099_newer\n")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "SCRIPT", newer)
        schema.create(connection)
    assert not connection.introspection.table_names()
    call_command("migrate", verbosity=0)
    assert ("executions", "9000_next_column") in MigrationRecorder(connection).applied_migrations()
