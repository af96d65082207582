"""Additional database sessions that race calls, block a call with locks, or inspect the locks that it holds."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any, LiteralString, TypeVar

import psycopg
from django.db import connection, connections, transaction
from django.db.models import Model
from psycopg import sql

from releases.artifacts import blob_lock
from releases.errors import ArtifactStoreUnavailable

T = TypeVar("T")
Call = Callable[[], object]
Decision = tuple[Call, Call, object]
"""A first call, a second call that waits for it, and the result or exception name of the second call."""


@contextmanager
def another_session() -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(**connection.get_connection_params()) as session:
        yield session
        session.rollback()


@contextmanager
def thread() -> Iterator[ThreadPoolExecutor]:
    """Keep one thread with its connection until the end of the block, so that leaked locks stay visible."""
    with ThreadPoolExecutor(1) as made:
        try:
            yield made
        finally:
            made.submit(connections.close_all).result(30)


def ended_after(first: Call, second: Callable[[], T], then: Call = lambda: None) -> Future[T]:
    """Commit `first` and `then` in one transaction, for which `second` waits in another session after `first`.

    Return the future of `second`, which has ended.
    """
    with thread() as other, transaction.atomic():
        first()
        running = other.submit(second)
        until_blocked(connection, ended=running.done)
        then()
    return running


def assert_decided(decision: Decision) -> None:
    """Assert that the second call waits for the first, and decides on what that has committed."""
    first, second, expected = decision
    ended = ended_after(first, second)
    error = ended.exception()
    assert (ended.result() if error is None else type(error).__name__) == expected


def lock(session: psycopg.Connection[Any], row: Model, strength: str = "UPDATE", wait: str = "NOWAIT") -> bool:
    """Lock the row in `session`. Return False if it is locked already and `wait` is SKIP LOCKED."""
    query = sql.SQL("SELECT FROM {table} WHERE {key} = %s FOR {strength} {wait}").format(
        table=sql.Identifier(row._meta.db_table),
        key=sql.Identifier(str(row._meta.pk.column)),
        strength=sql.SQL(strength),
        wait=sql.SQL(wait),
    )
    return session.execute(query, [row.pk]).rowcount == 1


def locked(rows: Sequence[Model], *, against: str) -> list[Model]:
    """Return the `rows` that another session cannot lock FOR `against` now."""
    with another_session() as session:
        return [row for row in rows if not lock(session, row, against, "SKIP LOCKED")]


def advisory_locks() -> int:
    """Return the number of advisory locks held in this database."""
    with another_session() as session:
        return _count(
            session,
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE locktype = 'advisory' AND d.datname = current_database()",
        )


def leases() -> int:
    with another_session() as session:
        return _count(session, "SELECT count(*) FROM releases_bloblease")


def _count(session: psycopg.Connection[Any], query: LiteralString, *parameters: object) -> int:
    [[count]] = session.execute(query, parameters).fetchall()
    return int(count)


def digest_lock(digest: str) -> str:
    """Return the state of the digest's lease: "free", "shared" or "alone" (exclusive)."""

    def look() -> str:
        with blob_lock.exclusive(digest) as held:
            if held is not None:
                return "free"
        try:
            with blob_lock.shared([digest], timeout=0):
                return "shared"
        except ArtifactStoreUnavailable:
            return "alone"

    return results_of(race(look))[0]


class Stopped:
    """A call that is blocked by a lock of another session."""

    def __init__(self, running: Future[object], session: psycopg.Connection[Any], pid: int) -> None:
        self._running, self._session, self._pid = running, session, pid

    def finish(self) -> object:
        self._session.rollback()
        return self._running.result(30)

    def fail(self) -> BaseException | None:
        self._session.execute("SELECT pg_cancel_backend(%s)", [self._pid])
        return self._running.exception(30)

    def disconnect(self) -> None:
        """End the session of the call, as a failover of the database does."""
        self._session.execute("SELECT pg_terminate_backend(%s, 10000)", [self._pid])

    def locks(self) -> int:
        """Return the number of locks of any kind that its session holds. An open transaction always holds some."""
        return _count(self._session, "SELECT count(*) FROM pg_locks WHERE pid = %s", self._pid)


@contextmanager
def stopped_before_writing(table: type[Model], call: Call) -> Iterator[Stopped]:
    """Run `call` until it writes to `table`. It can still read the table and lock its rows."""
    with _stopped_at_table(table, call, "SHARE ROW EXCLUSIVE") as stopped:
        yield stopped


@contextmanager
def stopped_before_reading(table: type[Model], call: Call) -> Iterator[Stopped]:
    """Run `call` until it reads `table` or writes to it."""
    with _stopped_at_table(table, call, "ACCESS EXCLUSIVE") as stopped:
        yield stopped


@contextmanager
def _stopped_at_table(table: type[Model], call: Call, mode: LiteralString) -> Iterator[Stopped]:
    with thread() as other, another_session() as session:
        name = sql.Identifier(table._meta.db_table)
        session.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(name, sql.SQL(mode)))
        yield _started(other, call, session)
        session.rollback()


@contextmanager
def stopped_at_row(row: Model, call: Call, strength: str = "UPDATE") -> Iterator[Stopped]:
    """Run `call` until it locks `row`, which another session holds."""
    with thread() as other, another_session() as session:
        assert lock(session, row, strength)
        yield _started(other, call, session)
        session.rollback()


def _started(other: ThreadPoolExecutor, call: Call, session: psycopg.Connection[Any]) -> Stopped:
    running = other.submit(call)
    return Stopped(running, session, until_blocked(session, ended=running.done))


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


PATIENCE_SECONDS = 30.0


def until_blocked(connection: Any, *, ended: Callable[[], bool] = lambda: False) -> int:
    """Wait until another session waits for a lock that `connection` holds; return the backend pid of that session.

    Fails the test if nothing waits within PATIENCE_SECONDS, or if `ended` returns True.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline and not ended():
            # pg_stat_activity would not change within a transaction.
            cursor.execute("SELECT pid FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)) LIMIT 1")
            row = cursor.fetchone()
            if row:
                return int(row[0])
            time.sleep(0.01)
    raise AssertionError("no session waits for this connection")
