"""Reads request bodies: bounded, in one copy, and under the budget for large ones.

`HttpRequest.body` reads everything at once, so the server holds a second copy. It also keeps the body for as long as
the request exists. Requests are parts of reference cycles, so they exist until a full garbage collection.
"""

from typing import Protocol

from django.conf import settings

from foundation.api.body_budget import admit
from foundation.errors import LargeRequestsBusy, PayloadTooLarge

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
