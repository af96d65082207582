"""Limits the memory that large request bodies use in one process.

A request needs several times the memory of its body while it is parsed, digested and written. The number of threads
limits the memory of small bodies. Large bodies share a budget: a request reserves bytes once its body is read, and
returns them when it is answered. If the budget is spent, a request waits for a few seconds. Only a few requests may
wait, so that threads stay free for small bodies.
"""

import threading
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from coordinator.errors import LargeRequestsBusy

LARGE_BYTES = 256 * 1024
WAIT_SECONDS = 5.0
MOST_WAITING = 4


class Budget:
    """A number of bytes that several threads share."""

    def __init__(self, total: Callable[[], int], *, seconds: float, most_waiting: int) -> None:
        self._total = total
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._taken = 0
        self._waiting = 0

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def waiting(self) -> int:
        """How many threads wait for others to return bytes."""
        return self._waiting

    def take(self, size: int) -> bool:
        """Reserve `size` bytes. Return False if they do not become free in time, or if too many threads wait already.

        A request may exceed the total while no other request has reserved bytes.
        """
        with self._changed:
            if not self._fits(size):
                if self._waiting >= self._most_waiting:
                    return False
                self._waiting += 1
                try:
                    if not self._changed.wait_for(lambda: self._fits(size), self._seconds):
                        return False
                finally:
                    self._waiting -= 1
            self._taken += size
            return True

    def give_back(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._total()


budget = Budget(lambda: int(settings.LARGE_BODIES_BYTES), seconds=WAIT_SECONDS, most_waiting=MOST_WAITING)
_request = threading.local()


def admit(size: int) -> None:
    """Reserve `size` bytes of the budget until the request is answered. Raises `LargeRequestsBusy`."""
    if size <= LARGE_BYTES:
        return
    if not budget.take(size):
        raise LargeRequestsBusy("Large requests are taking all the memory they may have. Try again in a moment.")
    _request.taken = getattr(_request, "taken", 0) + size


def returns_budget(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: returns the bytes that the request reserved to the budget."""

    def middleware(request: HttpRequest) -> HttpResponse:
        try:
            return get_response(request)
        finally:
            taken = getattr(_request, "taken", 0)
            if taken:
                _request.taken = 0
                budget.give_back(taken)

    return middleware
