"""Runs a test for each row of a table, with one set-up for all of them."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.db.models import Model

from tests import caches

Test = Callable[..., None]
Log = pytest.LogCaptureFixture
COPIED = (dict, list, set, Model)
COMMITTING = {"committed", "transactional_db"}
"""Fixtures of tests without a transaction around them."""


def cases(names: str | Sequence[str], *rows: Any) -> Callable[[Test], Test]:
    """Run the test for each row, as a subtest. All rows are run, even if some fail.

    `names` are the arguments that a row fills. A row is a tuple; if there is one name, as text, a row is its value.
    As for `max`, the rows are the arguments, or one iterable.
    Fixtures are made once. Each case gets copies of those that are dictionaries, lists, sets or rows of the database,
    and an empty `tmp_path`. Settings that it changes and what it writes to the database are restored, and the caches of
    the process are cleared. A test that commits needs `pytest.mark.parametrize`.
    """
    columns = [names] if isinstance(names, str) else list(names)
    table = [(row,) if isinstance(names, str) else tuple(row) for row in (rows[0] if len(rows) == 1 else rows)]
    assert table, "a test without cases proves nothing"

    def decorate(test: Test) -> Test:
        arguments = inspect.signature(test).parameters
        fixtures = [name for name in arguments if name not in columns]
        assert set(columns) <= set(arguments), f"{test.__name__} does not take all of {names}"

        @functools.wraps(test)
        def run(**values: Any) -> None:
            subtests: pytest.Subtests = values["subtests"]
            request: pytest.FixtureRequest = values["request"]
            assert COMMITTING.isdisjoint(request.fixturenames), "the cases of a test that commits see each other's rows"
            shared = {name: values[name] for name in fixtures}
            for number, row in enumerate(table):
                case = dict(zip(columns, row, strict=True))
                with subtests.test(", ".join(f"{name}={ascii(value)[:80]}" for name, value in case.items())):
                    renewed = {name: _own(name, value, number) for name, value in shared.items()}
                    with settings_restored(shared.get("settings")), rolled_back():
                        test(**renewed, **case)

        requested = dict.fromkeys([*fixtures, "request", "subtests"])
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, keyword) for name in requested]
        )
        return run

    return decorate


def returning(result: object, module: dict[str, Any]) -> list[Callable[[], Any]]:
    """Return the functions without arguments of a module, given as `globals()`, that are annotated with `result`."""
    functions = [function for function in module.values() if inspect.isfunction(function)]
    return [function for function in functions if function.__annotations__ == {"return": result}]


def current_settings() -> dict[str, Any]:
    return {name: getattr(django_settings, name) for name in dir(django_settings) if name.isupper()}


@contextmanager
def settings_restored(settings: Any) -> Iterator[None]:
    """Undo the changes that the block makes through the fixture `settings`, if the test has it."""
    before = current_settings() if settings else {}
    try:
        yield
    finally:
        for name, value in before.items():
            if getattr(settings, name) is not value:
                setattr(settings, name, value)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Check the deferred constraints after the block, then undo what it wrote. Start with empty caches.

    Without a transaction around the test, only the caches are cleared.
    """
    caches.clear()
    if not connection.in_atomic_block:
        yield
        return
    place = transaction.savepoint()
    defer_constraints()
    try:
        yield
        connection.check_constraints()
    finally:
        transaction.set_rollback(False)
        transaction.savepoint_rollback(place)


def defer_constraints() -> None:
    """Set all constraints to deferred. PostgreSQL may keep them immediate after the rollback of a savepoint."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def _own(name: str, value: Any, number: int) -> Any:
    """Return the value that a case gets of a fixture."""
    if name == "tmp_path" and isinstance(value, Path):
        folder = value / str(number)
        folder.mkdir()
        return folder
    return copy.deepcopy(value) if isinstance(value, COPIED) else value
