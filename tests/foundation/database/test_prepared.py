"""Prepared statements: which plans the database keeps, and how the cursor resembles Django's."""

import itertools
import time
from collections.abc import Callable

import pytest
from django.db import connection

from foundation.database import prepared

pytestmark = pytest.mark.django_db


def plans(statement: str = "") -> list[str]:
    """Return the names of this connection's prepared statements that begin with `statement`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE starts_with(statement, %s)", [statement])
        return [name for (name,) in cursor.fetchall()]


def ask(statement: str, number: int = 1) -> int:
    with prepared.cursor() as cursor:
        cursor.execute(statement, {"number": number})
        return int(cursor.fetchone()[0])


@pytest.fixture
def renew(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Each call begins a new period of plans, which lasts until the end of the test."""
    periods = itertools.count(1)

    def begin() -> None:
        monkeypatch.setattr(prepared, "KEPT_SECONDS", time.monotonic() / (next(periods) + 0.5))

    begin()
    return begin


@pytest.mark.usefixtures("renew")
def test_a_statement_is_prepared_once() -> None:
    assert [ask("SELECT 41 + %(number)s::int", number) for number in range(1, 11)] == list(range(42, 52))
    assert len(plans("SELECT 41 + $1::int")) == 1


def test_a_new_plan_replaces_the_old_one(renew: Callable[[], None]) -> None:
    made = []
    for _ in range(3):
        renew()
        ask("SELECT 77 + %(number)s::int")
        made += plans("SELECT 77 + $1::int")
    assert len(set(made)) == len(made) == 3
