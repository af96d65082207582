"""Runs a test for each row of a table, with one set-up for all of them."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model

from tests import caches

Test = Callable[..., None]
COPIED = (dict, list, set, Model)


def cases(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Run the test for each row, as a subtest. All rows are run, even if some fail.

    `names` are the arguments that a row fills. A row is a tuple; if there is one name, as text, a row is its value.
    Fixtures are made once. Each case gets copies of those that are dictionaries, lists, sets or rows of the database,
    and an empty `tmp_path`. What it writes to the database is rolled back, and the caches of the process are cleared.
    """
    columns = [names] if isinstance(names, str) else list(names)
    table = [(row,) if isinstance(names, str) else tuple(row) for row in rows]
    assert table, "a test without cases proves nothing"

    def decorate(test: Test) -> Test:
        arguments = inspect.signature(test).parameters
        fixtures = [name for name in arguments if name not in columns]
        assert set(columns) <= set(arguments), f"{test.__name__} does not take all of {names}"

        @functools.wraps(test)
        def run(**values: Any) -> None:
            subtests: pytest.Subtests = values["subtests"]
            shared = {name: values[name] for name in fixtures}
            for number, row in enumerate(table):
                case = dict(zip(columns, row, strict=True))
                with subtests.test(", ".join(f"{name}={ascii(value)[:80]}" for name, value in case.items())):
                    own = {name: _own(name, value, number) for name, value in shared.items()}
                    with rolled_back():
                        test(**own, **case)

        requested = dict.fromkeys([*fixtures, "subtests"])
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, keyword) for name in requested]
        )
        return run

    return decorate


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
