"""Released migrations never change, and newer ones keep the processes of the previous version working.

An unsafe statement blocks the running processes, or breaks those of the version before. A migration that locks two
tables may be in a deadlock with a query of both, and PostgreSQL may end the query instead of the migration.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from pytest_django import DjangoDbBlocker

from embedded.product import BIN, PROJECT
from foundation.database.postgresql.rights import RIGHTS
from tests.cases import cases
from tests.database_template import connected_to, empty_database
from tests.parts.upgrade import released
from tests.servers import NUMBER

CONFIGURATION = Path(__file__).with_name("squawk.toml")
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
OURS = frozenset(path.partition("/")[0] for path in released.migrations(PROJECT))
"""The labels of the product's apps that have migrations."""
_DROPPED_DEFAULT = re.compile(r'ALTER TABLE "?(\w+)"? ALTER COLUMN "?(\w+)"? DROP DEFAULT')
_CONCURRENT = re.compile(r"(CREATE (UNIQUE )?|DROP )INDEX CONCURRENTLY")


@dataclass(frozen=True, slots=True)
class NewMigration:
    """A migration that the previous version does not have.

    `name` is like `executions.0020_name`; `sql` is what it executes. `locked` are the tables of that version whose
    readers or writers its transaction makes wait.
    """

    name: str
    sql: str
    atomic: bool
    locked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """The rule that a statement breaks, and what is wrong. `line` counts from 1."""

    rule: str
    line: int
    message: str


def new_migrations(before: Collection[tuple[str, str]]) -> Iterator[NewMigration]:
    """Migrate the connected, empty database, and yield each migration that is not among `before` when it is due.

    `before` contains app labels and names. Migrations of other projects are applied, too.
    """
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    old = [step for step in plan if not _is_new(step[0], before)]
    new = [step for step in plan if _is_new(step[0], before)]
    state = executor.migrate(None, plan=old)
    released_tables = frozenset(connection.introspection.table_names(include_views=True))
    for migration, _ in new:
        name = f"{migration.app_label}.{migration.name}"
        statements = MigrationLoader(connection, replace_migrations=False).collect_sql([(migration, False)])
        locked = frozenset[str]()
        with transaction.atomic() if migration.atomic else nullcontext():
            state = executor.migrate(None, plan=[(migration, False)], state=state)
            if migration.atomic:
                locked = _locked() & released_tables
        yield NewMigration(name, "\n".join(statements), migration.atomic, locked)


def _locked() -> frozenset[str]:
    """Return the tables that this transaction has locked against writers, or against readers too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE c.relkind IN ('r', 'v') AND l.pid = pg_backend_pid() AND l.mode = ANY(%s)",
            [["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]],
        )
        return frozenset(name for (name,) in cursor.fetchall())


def _is_new(migration: Migration, before: Collection[tuple[str, str]]) -> bool:
    return migration.app_label in OURS and (migration.app_label, migration.name) not in before


def problems(new: NewMigration) -> list[Problem]:
    listed = unsafe_statements(new.sql, atomic=new.atomic)
    if len(new.locked) > 1:
        tables = ", ".join(sorted(new.locked))
        listed.append(
            Problem(
                "several-tables", 1, f"It locks {tables}. Lock one table of the previous version in each migration."
            )
        )
    return listed


def unsafe_statements(sql: str, *, atomic: bool) -> list[Problem]:
    """Return what is unsafe in these statements. `atomic` says that they run in one transaction."""
    command: list[str | Path] = [BIN / "squawk", f"--config={CONFIGURATION}", "--reporter=json"]
    if atomic:
        command.append("--assume-in-transaction")
    done = subprocess.run(command, input=sql, capture_output=True, text=True)
    assert done.stdout, done.stderr
    listed = [Problem(entry["rule_name"], entry["line"] + 1, entry["message"]) for entry in json.loads(done.stdout)]
    return [*listed, *_own_rules(sql, atomic)]


def _own_rules(sql: str, atomic: bool) -> Iterator[Problem]:
    for number, line in enumerate(sql.splitlines(), 1):
        if match := _DROPPED_DEFAULT.search(line):
            yield Problem(
                "default-dropped",
                number,
                f"The version before inserts into {match[1]} without {match[2]}. Give the field a db_default.",
            )
        # `coordinator migrate` sets no time limits for it.
        if not atomic and line.strip() and not line.startswith("--") and not _CONCURRENT.match(line.strip()):
            yield Problem("not-atomic", number, "A migration that is not atomic builds or drops indexes concurrently.")


def exceptions() -> dict[str, frozenset[str]]:
    """Return the rules that a migration may break, by its name. `exceptions.toml` says why."""
    listed: list[dict[str, Any]] = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")).get("exception", [])
    assert all(entry["reason"] for entry in listed)
    return {entry["migration"]: frozenset(entry["rules"]) for entry in listed}


RELEASED = {(path.partition("/")[0], Path(path).stem) for path in released.recorded()}


@pytest.fixture
def empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), empty_database(f"test_{NUMBER}_empty") as name, connected_to(name):
        yield


def test_the_migrations_of_a_release_are_unchanged() -> None:
    present = released.migrations(PROJECT)
    assert {path: present.get(path) for path in released.recorded()} == released.recorded()


def test_newer_migrations_are_safe(empty: None) -> None:
    excused = exceptions()
    unsafe = [
        f"{new.name}:{problem.line} {problem.rule}: {problem.message}"
        for new in new_migrations(RELEASED)
        for problem in problems(new)
        if problem.rule not in excused.get(new.name, ())
    ]
    assert not unsafe, "\n".join(unsafe)


def test_the_migrations_of_a_next_version_are_safe(empty: None, settings: Any) -> None:
    settings.MIGRATION_MODULES = {"executions": "tests.parts.upgrade.migrations"}
    column, index = (new for new in new_migrations(RELEASED) if "next" in new.name)
    assert column.locked == {"executions_execution"}
    assert not index.atomic
    assert problems(column) + problems(index) == []


def test_an_unsafe_migration_is_found(empty: None) -> None:
    """The tables of alerts refer to tenants and pipelines, whose writers wait meanwhile."""
    newer = new_migrations({(app, name) for app, name in RELEASED if app != "alerts"})
    new = next(migration for migration in newer if migration.name == "alerts.0001_tables")
    assert new.locked == {"tenancy_tenant", "releases_pipeline"}
    assert [problem.rule for problem in problems(new)] == ["several-tables"]


@cases(
    ("statement", "atomic", "rule"),
    [
        ("ALTER TABLE executions_worker DROP COLUMN capacity;", True, "ban-drop-column"),
        ('ALTER TABLE "executions_worker" ALTER COLUMN "room" DROP DEFAULT;', True, "default-dropped"),
        ('CREATE INDEX "i" ON "executions_worker" ("room");', True, "require-concurrent-index-creation"),
        ("UPDATE executions_worker SET room = 1;", False, "not-atomic"),
        ('ALTER TABLE "executions_worker" ADD COLUMN "room" integer DEFAULT 0 NOT NULL;', True, None),
        ('CREATE INDEX CONCURRENTLY "i" ON "executions_worker" ("room");', False, None),
    ],
)
def test_each_unsafe_statement_is_found(statement: str, atomic: bool, rule: str | None) -> None:
    rules = [problem.rule for problem in unsafe_statements(statement, atomic=atomic)]
    assert rule in rules if rule else rules == []


def test_the_application_role_keeps_every_right_that_the_previous_version_uses() -> None:
    """The processes of the previous version continue to work after the newer version has granted its rights."""
    before = ModuleType("rights")
    before.__dict__["__name__"] = "released_rights"
    exec(released.previous_file("foundation/database/postgresql/rights.py"), before.__dict__)
    nodes = [*RELEASED, *(node for node in MigrationLoader(None).graph.leaf_nodes() if node[0] not in OURS)]
    models = MigrationLoader(None).project_state(nodes).apps.get_models(include_auto_created=True)
    columns = {model._meta.db_table: [str(field.column) for field in model._meta.concrete_fields] for model in models}
    for table, was in before.RIGHTS.items():
        now, known = RIGHTS[table], columns.get(table, [])
        assert was.delete <= now.delete, table
        # Earlier versions list the columns of new rows, too.
        inserted = was.insertable(known) if hasattr(was, "insertable") else before.named(was.insert, known)
        updated = was.updatable(known) if hasattr(was, "updatable") else before.named(was.update, known)
        assert {*inserted} <= {*now.insertable(known)}, table
        assert {*updated} <= {*now.updatable(known)}, table
