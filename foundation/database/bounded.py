"""Queries with a limit: on their time, on their memory, and on how many rows they count."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import QueryCanceled

from foundation.errors import QueryTooSlow


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Run the block in a transaction and cancel each of its queries after `seconds`.

    Raises `QueryTooSlow` if a query was cancelled.
    """
    nested = connection.in_atomic_block
    try:
        with transaction.atomic():
            _set_timeout(f"{round(seconds * 1000)}ms")
            yield
            if nested:  # otherwise the limit ends with the transaction
                _set_timeout("0")
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise QueryTooSlow(f"The search was stopped after {seconds:g} s. Add a condition, such as a time.") from None


def in_chunks(rows: QuerySet[Any], size: int) -> Iterator[Any]:
    """Yield all rows of a query in constant memory, `size` at a time, in one transaction.

    Without a transaction, the memory is not constant behind a pooler, because a cursor belongs to a session.
    """
    with transaction.atomic():
        yield from rows.iterator(size)


def _set_timeout(value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [value])


def count_up_to(most: int, rows: QuerySet[Any]) -> int | None:
    """Return the number of rows, or None if there are more than `most`. Reads at most one row more than that."""
    count = rows.order_by()[: most + 1].count()
    return count if count <= most else None


def counts_up_to(most: int, queries: Iterable[QuerySet[Any]]) -> list[int]:
    """Return the numbers of rows of several queries with one statement. Each number is at most `most` + 1."""
    counts, params = [], list[Any]()
    for rows in queries:
        sql, values = rows.order_by().values("pk")[: most + 1].query.sql_with_params()
        counts.append(f"(SELECT COUNT(*) FROM ({sql}) counted)")  # noqa: S608 # nosec B608 - Django wrote it
        params += values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(counts)}", params)
        return list(cursor.fetchone())
