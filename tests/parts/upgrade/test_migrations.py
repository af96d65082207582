"""Migrations of a release never change, and newer ones keep the processes of that release working."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from pytest_django import DjangoDbBlocker

from embedded.product import PROJECT
from foundation.database.postgresql.rights import EVERY_COLUMN, RIGHTS
from tests.cases import cases
from tests.database_template import connected_to, empty_database
from tests.parts.upgrade import lint, released
from tests.servers import NUMBER

RELEASED = {(path.partition("/")[0], Path(path).stem) for path in released.recorded()}


@pytest.fixture
def empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Connect Django to an empty database."""
    with django_db_blocker.unblock(), empty_database(f"test_{NUMBER}_empty") as name, connected_to(name):
        yield


def test_the_migrations_of_a_release_are_unchanged() -> None:
    present = released.migrations(PROJECT)
    assert {path: present.get(path) for path in released.recorded()} == released.recorded()


def test_newer_migrations_are_safe(empty: None) -> None:
    excused = lint.exceptions()
    found = [
        f"{new.name}:{each.line} {each.rule}: {each.message}"
        for new in lint.new_migrations(RELEASED)
        for each in lint.problems(new)
        if each.rule not in excused.get(new.name, ())
    ]
    assert not found, "\n".join(found)


def test_an_unsafe_migration_is_found(empty: None) -> None:
    """The last migration of version 0.1.0 builds an index while submissions wait."""
    older = RELEASED - {("executions", "0019_submitted_by_people")}
    for new in lint.new_migrations(older):
        if new.name == "executions.0019_submitted_by_people":
            break
    assert new.locked == {"executions_execution"}
    assert [each.rule for each in lint.problems(new)] == ["require-concurrent-index-creation"]
    two = replace(new, sql="", locked=frozenset({"executions_execution", "executions_awaitunit"}))
    assert [each.rule for each in lint.problems(two)] == ["several-tables"]


@cases(
    ("statement", "atomic", "rule"),
    [
        ("ALTER TABLE executions_worker DROP COLUMN capacity;", True, "ban-drop-column"),
        ('ALTER TABLE "executions_worker" ALTER COLUMN "room" DROP DEFAULT;', True, "default-dropped"),
        ("UPDATE executions_worker SET room = 1;", False, "not-atomic"),
        ('ALTER TABLE "executions_worker" ADD COLUMN "room" integer DEFAULT 0 NOT NULL;', True, None),
        ('CREATE INDEX CONCURRENTLY "i" ON "executions_worker" ("room");', False, None),
    ],
)
def test_each_unsafe_statement_is_found(statement: str, atomic: bool, rule: str | None) -> None:
    found = [each.rule for each in lint.unsafe_statements(statement, atomic=atomic)]
    assert rule in found if rule else found == []


def test_the_application_role_keeps_every_right_that_the_last_release_uses() -> None:
    """The processes of the last release continue to work after the newer version has granted its rights."""
    before = ModuleType("rights")
    before.__dict__["__name__"] = "released_rights"
    exec(released.released_file("foundation/database/postgresql/rights.py"), before.__dict__)
    for table, rights in before.RIGHTS.items():
        now = RIGHTS[table]
        assert rights.delete <= now.delete, table
        for was, is_now in ((rights.insert, now.insert), (rights.update, now.update)):
            assert is_now == EVERY_COLUMN or set(was.split()) <= set(is_now.split()), table
