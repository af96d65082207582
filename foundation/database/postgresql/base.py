"""Django's PostgreSQL backend, but for how it finds out whether a kept connection is still good, and when it is let go.

Django asks the server, a statement before the first of every request and task. A server that stops or ends a session
says so on the connection, which costs nothing to look for. Only after an error, or a silence in which a network may
have lost the connection without a word, is the server asked.

Django leaves the connection of a thread that has ended to the garbage collector, which may not come by for long. Here
it is closed with its thread: the web's threads end whenever they are idle.
"""

import os
import select
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base

LONGEST_SILENCE = 10.0


class _Lease:
    """Closes a connection when nothing refers to this any more."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._process:  # a forked process speaks no word on its parent's connection
            self._connection.close()


class _Leases(threading.local):
    """What the present thread has, let go of when it ends."""

    def __init__(self) -> None:
        self.held: WeakKeyDictionary[DatabaseWrapper, _Lease] = WeakKeyDictionary()


_leases = _Leases()


class DatabaseWrapper(base.DatabaseWrapper):
    _used_at = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        made = super().get_new_connection(conn_params)
        if not self.allow_thread_sharing:  # a connection that several threads share outlives each of them
            _leases.held[self] = _Lease(made)
        return made

    def is_usable(self) -> bool:
        """Return whether the connection is good, as far as can be known before it is used. Never raises."""
        now = time.monotonic()
        silent = now - self._used_at > LONGEST_SILENCE
        self._used_at = now
        try:
            return super().is_usable() if silent or self.errors_occurred or self._has_news() else True
        except (psycopg.Error, OSError, ValueError):
            # The connection or its descriptor is broken: Django closes it and opens another.
            return False

    def _has_news(self) -> bool:
        """An idle session gets nothing to read but a farewell or a notice."""
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        # Unlike select(2), poll(2) takes descriptors above 1023.
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        return bool(socket.poll(0))
