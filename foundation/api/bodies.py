"""Reads request bodies: bounded, in one copy, under the budget for large ones, and as strict JSON.

`HttpRequest.body` reads everything at once, so the server holds a second copy. It also keeps the body for as long as
the request exists. Requests are parts of reference cycles, so they exist until a full garbage collection.

A request needs several times the memory of its body while it is parsed, digested and written. The number of threads
limits the memory of small bodies. Large bodies share a budget: a request reserves bytes once its body is read, and
returns them when it is answered. If the budget is spent, a request waits for a few seconds. Only a few requests may
wait, so that threads stay free for small bodies. One tenant may use at most half of the budget and half of the waiting
places.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any, Protocol

from django.conf import settings
from rest_framework.parsers import BaseParser

from foundation.errors import InvalidRequest, LargeRequestsBusy, PayloadTooLarge
from wire.documents.json_reader import count_values, read_object
from wire.findings import DocumentError

LARGE_BYTES = 256 * 1024
WAIT_SECONDS = 5.0
MOST_WAITING = 4
VALUE_BYTES = 64
"""Bytes of the budget that each JSON value of a large body reserves, in addition to the bytes of its text."""


class Budget:
    """The LARGE_BODIES_BYTES that several threads share. Each reservation belongs to an owner."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = Counter[str]()
        self._waiting = Counter[str]()

    @property
    def taken(self) -> int:
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
                if self.waiting >= MOST_WAITING or self._waiting[owner] >= MOST_WAITING / 2:
                    return False
                self._waiting[owner] += 1
                try:
                    if not self._changed.wait_for(lambda: self._fits(size, owner), WAIT_SECONDS):
                        return False
                finally:
                    _lower(self._waiting, owner, 1)
            self._taken[owner] += size
            return True

    def give_back(self, size: int, owner: str) -> None:
        with self._changed:
            _lower(self._taken, owner, size)
            self._changed.notify_all()

    def _fits(self, size: int, owner: str) -> bool:
        if not self.taken:
            return True
        total, owned = settings.LARGE_BODIES_BYTES, self._taken[owner]
        return bool(self.taken + size <= total and (not owned or owned + size <= total / 2))


def _lower(numbers: Counter[str], owner: str, by: int) -> None:
    numbers[owner] -= by
    if not numbers[owner]:
        del numbers[owner]


budget = Budget()


class _Reserved(threading.local):
    """The bytes that the request of this thread has reserved, and for which owners."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, str]] = []


_reserved = _Reserved()


def admit(body: bytes | bytearray, owner: str) -> None:
    """Reserve the memory that `body` needs until the request is answered. Raises `LargeRequestsBusy`.

    The bytes come from the budget share of `owner`, for example a tenant.
    """
    if len(body) <= LARGE_BYTES:
        return
    size = len(body) + VALUE_BYTES * count_values(bytes(body))
    if not budget.take(size, owner):
        raise LargeRequestsBusy("Large requests use all the memory that they may use. Try again later.")
    _reserved.sizes.append((size, owner))


def give_back() -> None:
    """Return the bytes that the request of this thread reserved to the budget."""
    while _reserved.sizes:
        budget.give_back(*_reserved.sizes.pop())


CHUNK_BYTES = 256 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_body(stream: Readable, limit: int, owner: str) -> bytes:
    """Return the rest of `stream`. Raises `PayloadTooLarge` if it exceeds `limit` bytes, and `LargeRequestsBusy`.

    A large body is charged to the budget share of `owner`.
    """
    chunks: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            _discard(stream, settings.MAX_BATCH_BYTES + settings.MAX_REQUEST_BYTES - size)
            raise PayloadTooLarge(f"A request body may have at most {limit} bytes.", limit=limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    chunks.clear()
    try:
        admit(body, owner)
    except LargeRequestsBusy:
        body = b""  # the exception's traceback would keep it in memory
        raise
    return body


def _discard(stream: Readable, size: int) -> None:
    """Read and discard up to `size` bytes, because a proxy that cannot send the whole request loses the response."""
    while size > 0 and (chunk := stream.read(min(size, CHUNK_BYTES))):
        size -= len(chunk)


class StrictJSONParser(BaseParser):
    """Returns the JSON object in the body. Raises `InvalidRequest` with all findings, or `PayloadTooLarge`."""

    media_type = "application/json"

    @property
    def limit(self) -> int:
        """The maximum size of a body, in bytes."""
        return int(settings.MAX_REQUEST_BYTES)

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        limit = self.limit
        tenant = (parser_context or {}).get("kwargs", {}).get("tenant", "")
        return strict_json(read_body(stream, limit, tenant), limit)


def strict_json(body: bytes, limit: int) -> dict[str, Any]:
    """Return the JSON object in `body`, which has at most `limit` bytes. Raises `InvalidRequest` with each finding."""
    try:
        return read_object(body, name="body", limit=limit)
    except DocumentError as error:
        raise InvalidRequest(str(error), errors=[finding.to_json() for finding in error.findings]) from None
