"""Runs calls concurrently, each in a separate thread with a separate connection. All start at the same time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from django.db import connection, connections

T = TypeVar("T")
LOCK_TIMEOUT = "10s"


@contextmanager
def bounded_waits() -> Iterator[None]:
    """Limit lock waits of connections opened in the block to LOCK_TIMEOUT, so that a blocked test fails."""
    before = connection.settings_dict["OPTIONS"]
    options = f"{before.get('options', '')} -c lock_timeout={LOCK_TIMEOUT}"
    connection.settings_dict["OPTIONS"] = {**before, "options": options}
    try:
        yield
    finally:
        connection.settings_dict["OPTIONS"] = before


def race(*calls: Callable[[], T]) -> list[T | Exception]:
    """Run the calls at the same time. Return what each returned or raised, in the order of the calls."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        try:
            connections["default"].ensure_connection()
            barrier.wait(30)
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def results_of(results: list[T | Exception]) -> list[T]:
    errors = [result for result in results if isinstance(result, Exception)]
    if errors:
        raise errors[0]
    return [result for result in results if not isinstance(result, Exception)]


def parted(results: list[T | Exception]) -> tuple[list[T], list[str]]:
    return (
        [result for result in results if not isinstance(result, Exception)],
        [type(result).__name__ for result in results if isinstance(result, Exception)],
    )
