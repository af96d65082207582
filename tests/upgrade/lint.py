"""Finds unsafe statements in migrations that the last release does not have: squawk, and a rule of its own.

An unsafe statement blocks the running processes, or breaks those of the version before.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from embedded.product import BIN, PROJECT
from tests.upgrade import released

CONFIGURATION = Path(__file__).with_name("squawk.toml")
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
OURS = frozenset(path.partition("/")[0] for path in released.migrations(PROJECT))
"""The labels of the product's apps that have migrations."""
_DROPPED_DEFAULT = re.compile(r'ALTER TABLE "?(\w+)"? ALTER COLUMN "?(\w+)"? DROP DEFAULT')
_CONCURRENT = re.compile(r"(CREATE (UNIQUE )?|DROP )INDEX CONCURRENTLY")


@dataclass(frozen=True, slots=True)
class NewMigration:
    """A migration that is in no release. `name` is like `executions.0020_name`; `sql` is what it executes."""

    name: str
    sql: str
    atomic: bool


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
    for migration, _ in new:
        statements = MigrationLoader(connection, replace_migrations=False).collect_sql([(migration, False)])
        yield NewMigration(f"{migration.app_label}.{migration.name}", "\n".join(statements), migration.atomic)
        state = executor.migrate(None, plan=[(migration, False)], state=state)


def _is_new(migration: Migration, before: Collection[tuple[str, str]]) -> bool:
    return migration.app_label in OURS and (migration.app_label, migration.name) not in before


def problems(sql: str, *, atomic: bool) -> list[Problem]:
    """Return what is unsafe in the statements of one migration. `atomic` says that they run in one transaction."""
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
