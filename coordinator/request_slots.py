"""Lets requests whose bodies arrive slowly wait without holding up others.

Granian calls the application before the body has arrived, in one of its threads, and a `read` cannot be interrupted. So
it has many threads, and few slots: a request is handled in a slot, which brings a connection to the database, and it
leaves the slot while it waits for its body. A client that stops in its body holds a thread, which costs little, until
it closes the connection.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from coordinator.errors import SlowRequestsBusy

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Slots:
    """A number of connections to the database. The thread that takes one uses it as its own."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            made = connections.create_connection(DEFAULT_DB_ALIAS)
            made.inc_thread_sharing()
            self._free.put(made)

    def take(self) -> None:
        """Wait for a free slot."""
        connections[DEFAULT_DB_ALIAS] = self._free.get()

    def leave(self) -> None:
        connection = connections[DEFAULT_DB_ALIAS]
        del connections[DEFAULT_DB_ALIAS]
        self._free.put(connection)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Within the block others may use the slot, unless a transaction is open in it."""
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            yield
            return
        self.leave()
        try:
            yield
        finally:
            self.take()


class Body:
    """A request's body, whose reader leaves its slot. Raises `SlowRequestsBusy` if too many wait for theirs."""

    def __init__(self, stream: Any, slots: Slots, waiting: threading.Semaphore) -> None:
        self._stream = stream
        self._slots = slots
        self._waiting = waiting

    def read(self, size: int | None = None) -> bytes:
        return self._wait(lambda: self._stream.read(size))

    def readline(self, size: int | None = None) -> bytes:
        return self._wait(lambda: self._stream.readline(size))

    def _wait(self, read: Callable[[], bytes]) -> bytes:
        if not self._waiting.acquire(blocking=False):
            raise SlowRequestsBusy("Too many clients have sent a part of their request only. Try again in a moment.")
        try:
            with self._slots.left():
                return read()
        finally:
            self._waiting.release()


def in_slots(application: Application, *, slots: int, threads: int) -> Application:
    """Wrap a WSGI application so that it handles `slots` requests at once, of the `threads` that the server calls."""
    shared = Slots(slots)
    waiting = threading.Semaphore(max(threads - 2 * slots, 1))

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH", "") not in {"", "0"}:
            environ["wsgi.input"] = Body(environ["wsgi.input"], shared, waiting)
        shared.take()
        try:
            return application(environ, start_response)
        finally:
            shared.leave()

    return respond
