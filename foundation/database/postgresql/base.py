"""Django's PostgreSQL backend, with another check of persistent connections, and another time of closing them.

Django checks a connection with a statement before the first query of every request and task. This backend reads the
socket instead, which costs almost nothing: a server that stops or ends a session sends a message. It sends a statement
only after an error, or after a silence in which a network may have dropped the connection.

Django leaves the connection of a thread that has ended to the garbage collector, which may run much later. This backend
closes it when the thread ends: threads of web processes end when they are idle.

Processes that serve others limit the waits of their connections and choose their servers
(`foundation.database.postgresql.servers`). Commands may take hours and have no limit.

Behind a pooler of transactions, a connection has a session of the database only during a transaction (ADR 71). The
setting POOLER of the connection is then "transaction".
"""

import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base

from foundation.database.postgresql import servers

LONGEST_SILENCE = 10.0
LEAST_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Limited:
    """Waits for an answer until `deadline`, at least for LEAST_ANSWER_SECONDS and at most for `most` seconds."""

    wait: Callable[..., Any]
    deadline: float
    most: float

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        left = max(self.deadline - time.monotonic(), LEAST_ANSWER_SECONDS)
        return self.wait(*arguments, **{**options, "timeout": min(left, self.most)})


class _Lease:
    """Closes a connection when this object is deleted."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._process:  # a forked process never uses the connection of its parent
            self._connection.close()


class _Leases(threading.local):
    """The leases of the current thread, deleted when it ends."""

    def __init__(self) -> None:
        self.held: WeakKeyDictionary[DatabaseWrapper, _Lease] = WeakKeyDictionary()


_leases = _Leases()


class DatabaseWrapper(base.DatabaseWrapper):
    _used_at = 0.0
    _server: servers.Server | None = None
    _deadline: float | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        created, self._server = servers.connect(conn_params, super().get_new_connection)
        self._limit_waits(created)
        if not self.allow_thread_sharing:  # a connection that several threads share outlives each of them
            _leases.held[self] = _Lease(created)
        return created

    @property
    def is_pooled(self) -> bool:
        """True if each transaction may run in another session of the database."""
        return bool(self.settings_dict.get("POOLER") == "transaction")

    def chunked_cursor(self) -> Any:
        """Return a cursor for `QuerySet.iterator`: in the server, unless it would outlive its transaction and session.

        A cursor that is not in the server reads all rows at once.
        """
        return super().chunked_cursor() if self.in_atomic_block or not self.is_pooled else self.cursor()

    def is_usable(self) -> bool:
        """Return False if the connection is known to be lost. Never raises."""
        now = time.monotonic()
        silent = now - self._used_at > LONGEST_SILENCE
        self._used_at = now
        if self._server is not None and self._is_replaced(self._server):
            return False
        try:
            return super().is_usable() if silent or self.errors_occurred or self._has_news() else True
        except (psycopg.Error, OSError, ValueError):
            # The connection or its descriptor is invalid: Django closes it and opens another.
            return False

    @contextmanager
    def answered_until(self, deadline: float) -> Iterator[None]:
        """Wait for no answer in the block beyond `deadline`, a time of the monotonic clock.

        Each statement may take LEAST_ANSWER_SECONDS. After that it fails like one to a silent server (`guard`), for
        example because it waits for a lock.
        """
        self._deadline = deadline
        self.ensure_connection()
        self._limit_waits(self.connection)
        try:
            yield
        finally:
            self._deadline = None
            current: Any = self.connection
            if current is not None and isinstance(current.wait, _Limited):
                current.wait = current.wait.wait

    def _limit_waits(self, created: Any) -> None:
        if self._deadline is not None and not isinstance(created.wait, _Limited):
            most = (servers.chooser and servers.chooser.answer_seconds) or math.inf
            created.wait = _Limited(created.wait, self._deadline, most)

    def _is_replaced(self, server: servers.Server) -> bool:
        """Return True if the server is refused by now. A pooler may have moved the connection to another server."""
        chooser = servers.chooser
        if chooser is None:
            return False
        return server is not chooser.timelines.newest or (chooser.is_refusing and self.is_pooled)

    def _has_news(self) -> bool:
        """Return True if the server has sent something: an idle session receives only notices and its end."""
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        # Unlike select(2), poll(2) accepts descriptors above 1023.
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        return bool(socket.poll(0))
