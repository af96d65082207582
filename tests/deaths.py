"""Simulates the death of a process at each of its writes. Uncommitted changes are lost."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from django.apps import apps
from django.db import connection

# A lease is no part of what an operation writes: it is taken before, and outlives the process for its time.
LEASES = "releases_bloblease"
_WRITE = re.compile(
    rf'\b(INSERT INTO|UPDATE|DELETE FROM) "?(?!{LEASES})(executions|releases|tenancy|alerts|coordinator)_'
)


class Died(BaseException):
    """Simulates the death of the process: the product does not catch it, and transactions roll back."""


class _Death:
    """Raises `Died` once, instead of write `number` (from 0) that contains `text`. Stores it in `statement`."""

    def __init__(self, number: int, text: str) -> None:
        self.statement = ""
        self._left = number
        self._text = text

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if not self.statement and _WRITE.search(str(sql)) and self._text in str(sql):
            if self._left == 0:
                self.statement = str(sql)
                raise Died
            self._left -= 1
        return execute(sql, params, many, context)


def each_death(act: Callable[[], object], *, text: str = "") -> Iterator[str]:
    """Call `act` repeatedly. It dies at its first write, then at its second, and so on, until a call completes.

    Count only writes that contain `text`. Yield the replaced write after each death. Call this within the transaction
    of a test, so that transactions of `act` are savepoints.
    """
    for number in count():
        death = _Death(number, text)
        try:
            with connection.execute_wrapper(death):
                act()
        except Died:
            yield death.statement
        else:
            assert not death.statement, f"the death was caught: {death.statement}"
            return


def written() -> dict[str, str]:
    """Return one digest per table of the rows that this transaction has written.

    Exclude other rows, because a product that runs on the same database may write concurrently.
    """
    names = [
        model._meta.db_table
        for app in ("tenancy", "releases", "executions", "alerts", "coordinator")
        for model in apps.get_app_config(app).get_models()
        if model._meta.managed and model._meta.db_table != LEASES
    ]
    digests = [
        f"(SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {name} t"
        " WHERE pg_xact_status(t.xmin::text::xid8) = 'in progress')"
        for name in names
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(digests)}")
        return dict(zip(names, cursor.fetchone(), strict=True))


def assert_all_or_nothing(act: Callable[[], object]) -> None:
    before = written()
    for statement in each_death(act):
        assert written() == before, statement
    assert written() != before
