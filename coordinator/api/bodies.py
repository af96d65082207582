"""Reads request bodies: bounded, in one copy, and under the budget for large ones.

`HttpRequest.body` asks the server for everything at once, which then holds a copy of its own. It also keeps the body as
long as the request, and requests are parts of reference cycles: that is until a full garbage collection.
"""

from typing import Protocol

from coordinator.api.body_budget import admit
from coordinator.errors import LargeRequestsBusy, PayloadTooLarge

CHUNK_BYTES = 256 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_body(stream: Readable, limit: int) -> bytes:
    """Return what is left of `stream`. Raises `PayloadTooLarge` once it is more than `limit`; `LargeRequestsBusy`."""
    chunks: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"A request body may have at most {limit} bytes.", limit=limit)
        chunks.append(chunk)
    try:
        admit(size)
    except LargeRequestsBusy:
        chunks.clear()  # the exception would keep them, by its traceback
        raise
    return b"".join(chunks)
