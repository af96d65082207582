"""Finds what is unsafe in migrations that the last release does not have: squawk, and rules for this product.

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
from typing import Any

from django.db import connection, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from embedded.product import BIN, PROJECT
from tests.parts.upgrade import released

CONFIGURATION = Path(__file__).with_name("squawk.toml")
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
OURS = frozenset(path.partition("/")[0] for path in released.migrations(PROJECT))
"""The labels of the product's apps that have migrations."""
_DROPPED_DEFAULT = re.compile(r'ALTER TABLE "?(\w+)"? ALTER COLUMN "?(\w+)"? DROP DEFAULT')
_CONCURRENT = re.compile(r"(CREATE (UNIQUE )?|DROP )INDEX CONCURRENTLY")


@dataclass(frozen=True, slots=True)
class NewMigration:
    """A migration that is in no release.

    `name` is like `executions.0020_name`; `sql` is what it executes. `locked` are the tables of the last release whose
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
    old = [each for each in plan if not _is_new(each[0], before)]
    new = [each for each in plan if _is_new(each[0], before)]
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
    """Return what is unsafe in one migration."""
    found = unsafe_statements(new.sql, atomic=new.atomic)
    if len(new.locked) > 1:
        tables = ", ".join(sorted(new.locked))
        found.append(
            Problem("several-tables", 1, f"It locks {tables}. Lock one table of the last release in each migration.")
        )
    return found


def unsafe_statements(sql: str, *, atomic: bool) -> list[Problem]:
    """Return what is unsafe in these statements. `atomic` says that they run in one transaction."""
    command: list[str | Path] = [BIN / "squawk", f"--config={CONFIGURATION}", "--reporter=json"]
    if atomic:
        command.append("--assume-in-transaction")
    done = subprocess.run(command, input=sql, capture_output=True, text=True)
    assert done.stdout, done.stderr
    found = [Problem(each["rule_name"], each["line"] + 1, each["message"]) for each in json.loads(done.stdout)]
    return [*found, *_own_rules(sql, atomic)]


def _own_rules(sql: str, atomic: bool) -> Iterator[Problem]:
    for number, line in enumerate(sql.splitlines(), 1):
        if found := _DROPPED_DEFAULT.search(line):
            yield Problem(
                "default-dropped",
                number,
                f"The version before inserts into {found[1]} without {found[2]}. Give the field a db_default.",
            )
        # `coordinator migrate` sets no time limits for it.
        if not atomic and line.strip() and not line.startswith("--") and not _CONCURRENT.match(line.strip()):
            yield Problem(
                "not-atomic", number, "A migration that is not atomic only builds or drops indexes concurrently."
            )


def exceptions() -> dict[str, frozenset[str]]:
    """Return the rules that a migration may break, by its name. `exceptions.toml` says why."""
    listed: list[dict[str, Any]] = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")).get("exception", [])
    assert all(each["reason"] for each in listed)
    return {each["migration"]: frozenset(each["rules"]) for each in listed}
