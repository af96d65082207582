"""Prepared statements, for the few that run many times a second. The database plans them once instead of each time.

Planning the larger of them takes the database as long as executing them. A plan is kept for a few seconds only, because
a plan that was made for a small table is not replaced when the table grows. All plans of a connection are released
together, before new ones are made, so a connection never keeps two plans of one statement.

Without a pooler, the first plan is kept, unless the transaction that begins a period is rolled back. Otherwise
PostgreSQL plans each of the first five executions for its own values, which takes it half a millisecond to two each
time, and every renewal of a few leases.

Behind a pooler of transactions, the plans belong to sessions that all processes share, and no process can release them
together. There each period has its own text of each statement, and the pooler removes the oldest plans of a session.
"""

import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

KEPT_SECONDS = 5
# More than the product has statements, each with the few combinations of parameter types that it is executed with.
MOST_PLANS = 30

# The period in which the plans of a connection were made.
_periods: WeakKeyDictionary[psycopg.Connection[Any], int] = WeakKeyDictionary()


_PARAMETER = re.compile(r"%\((\w+)\)s|%%")


@lru_cache(1000)
def _numbered(query: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with the placeholders of the database, `$1` and so on, and the names of its parameters.

    psycopg does this for each execution of a statement of more than 4,096 characters.
    """
    numbers: dict[str, int] = {}

    def replaced(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}" if match[1] else "%"

    return _PARAMETER.sub(replaced, query), tuple(numbers)


class _Cursor(psycopg.RawCursor[Any]):
    """Binds named parameters in the server, and has the statement prepared there."""

    pooled = False
    """True behind a pooler of transactions."""

    def execute(self, query: Any, params: Mapping[str, Any], **options: Any) -> Any:  # type: ignore[override]
        text, names = _numbered(query)
        values = [params[name] for name in names]
        if self.pooled:
            # The clocks of processes need not agree: a session then has plans of two periods.
            self.connection.prepared_max = MOST_PLANS
            return super().execute(f"{text}/* {int(time.time() / KEPT_SECONDS)} */", values, **options, prepare=True)
        self.release_old_plans()
        return super().execute(text, values, **options, prepare=True)

    def release_old_plans(self) -> None:
        """Release the plans of the session if a new period has begun."""
        period = int(time.monotonic() / KEPT_SECONDS)
        used = self.connection
        if _periods.get(used) != period:
            # psycopg then discards its own list of prepared statements, but only if the text is new to it.
            super().execute(f"DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan /* {period} */", prepare=False)
            used.prepared_max = MOST_PLANS
            _periods[used] = period


def cursor() -> CursorWrapper:
    """Return a cursor on the current connection, in its transaction. It raises what Django's own cursors raise."""
    return _wrapped(connections[DEFAULT_DB_ALIAS])  # `connection` would look it up for each use


def rows(query: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute one statement and return its rows, as a `cursor` does with four times as many calls around psycopg's."""
    used = connections[DEFAULT_DB_ALIAS]
    if used.execute_wrappers or used.queries_logged:
        wrapped: Any = _wrapped(used)
        wrapped.execute(query, params)
        return list(wrapped.fetchall())
    used.validate_no_broken_transaction()
    raw = _raw(used)
    with used.wrap_database_errors:
        raw.execute(query, params)
        return raw.fetchall()


def _wrapped(used: BaseDatabaseWrapper) -> CursorWrapper:
    raw: Any = _raw(used)
    return used.make_debug_cursor(raw) if used.queries_logged else used.make_cursor(raw)


def _raw(used: BaseDatabaseWrapper) -> _Cursor:
    used.ensure_connection()
    raw = _Cursor(used.connection)
    raw.pooled = used.settings_dict.get("POOLER") == "transaction"
    return raw


def execute_together(*statements: tuple[str, Mapping[str, Any]]) -> list[list[tuple[Any, ...]]]:
    """Execute statements in one transaction and one round trip, and return the rows of each.

    If one fails, none of them has an effect, and its error is raised. The caller is in no transaction, and no pooler of
    transactions lies in between.
    """
    cursors = [cursor() for _ in statements]
    cursors[0].cursor.release_old_plans()  # a pipeline takes no two commands in one text
    used: Any = connections[DEFAULT_DB_ALIAS]
    # Until its end, which sends all at once, a pipeline of an autocommitting connection is one transaction.
    with used.wrap_database_errors, used.connection.pipeline():
        for sent, (query, params) in zip(cursors, statements, strict=True):
            sent.execute(query, params)
    return [sent.fetchall() for sent in cursors]
