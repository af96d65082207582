"""Limits the memory that large request bodies use in one process.

A request needs several times the memory of its body while it is parsed, digested and written. The number of threads
limits the memory of small bodies. Large bodies share a budget: a request reserves bytes once its body is read, and
returns them when it is answered. If the budget is spent, a request waits for a few seconds. Only a few requests may
wait, so that threads stay free for small bodies. One tenant may use at most half of the budget and half of the waiting
places.
"""

import threading
from collections import Counter
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from foundation.errors import LargeRequestsBusy
from wire.documents.json_reader import count_values

LARGE_BYTES = 256 * 1024
WAIT_SECONDS = 5.0
MOST_WAITING = 4
VALUE_BYTES = 64
"""Bytes of the budget that each JSON value of a large body reserves, in addition to the bytes of its text."""


class Budget:
    """A number of bytes that several threads share. Each reservation belongs to an owner."""

    def __init__(self, total: Callable[[], int], *, seconds: float, most_waiting: int) -> None:
        self._total = total
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._taken = Counter[str]()
        self._waiting = Counter[str]()

    @property
    def taken(self) -> int:
        """The reserved bytes."""
        return self._taken.total()

    @property
    def waiting(self) -> int:
        """The number of threads that wait for others to return bytes."""
        return self._waiting.total()

    def take(self, size: int, owner: str) -> bool:
        """Reserve `size` bytes. Return False if they do not become free in time, or if too many threads wait already.

        A request may exceed the total if no other request has reserved bytes. It may exceed its owner's half of the
        total if no other request of the owner has reserved bytes.
        """
        with self._changed:
            if not self._fits(size, owner):
                if self.waiting >= self._most_waiting or self._waiting[owner] >= self._most_waiting / 2:
                    return False
                self._waiting[owner] += 1
                try:
                    if not self._changed.wait_for(lambda: self._fits(size, owner), self._seconds):
                        return False
                finally:
                    _lower(self._waiting, owner, 1)
            self._taken[owner] += size
            return True

    def give_back(self, size: int, owner: str) -> None:
        """Return `size` bytes that the owner reserved."""
        with self._changed:
            _lower(self._taken, owner, size)
            self._changed.notify_all()

    def _fits(self, size: int, owner: str) -> bool:
        if not self.taken:
            return True
        total, owned = self._total(), self._taken[owner]
        return self.taken + size <= total and (not owned or owned + size <= total / 2)


def _lower(numbers: Counter[str], owner: str, by: int) -> None:
    numbers[owner] -= by
    if not numbers[owner]:
        del numbers[owner]


budget = Budget(lambda: int(settings.LARGE_BODIES_BYTES), seconds=WAIT_SECONDS, most_waiting=MOST_WAITING)
_request = threading.local()


def admit(body: bytes | bytearray, owner: str) -> None:
    """Reserve the memory that `body` needs until the request is answered. Raises `LargeRequestsBusy`.

    The bytes come from the budget share of `owner`, for example a tenant.
    """
    if len(body) <= LARGE_BYTES:
        return
    size = len(body) + VALUE_BYTES * count_values(bytes(body))
    if not budget.take(size, owner):
        raise LargeRequestsBusy("Large requests use all the memory that they may use. Try again later.")
    _reserved().append((size, owner))


def _reserved() -> list[tuple[int, str]]:
    if not hasattr(_request, "reserved"):
        _request.reserved = []
    reserved: list[tuple[int, str]] = _request.reserved
    return reserved


def returns_budget(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: returns the bytes that the request reserved to the budget."""

    def middleware(request: HttpRequest) -> HttpResponse:
        try:
            return get_response(request)
        finally:
            while reserved := _reserved():
                budget.give_back(*reserved.pop())

    return middleware
