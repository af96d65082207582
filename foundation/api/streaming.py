"""Responses whose bodies are read while they are sent, pauses of requests, and byte ranges (RFC 9110).

The server sends a streamed body after the view has returned, at the pace of the client. That occupies a thread, but
neither a slot nor a database connection (`coordinator.request_slots`). The iterator of the body must not use the
database. Neither does a request hold a slot while it pauses until another process has done its work.
"""

import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import IO, Final

from django.http import HttpRequest, StreamingHttpResponse

from foundation.errors import PreconditionFailed, RangeNotSatisfiable

CHUNK = 64 * 1024
PLACE = "coordinator.place"
"""The member of the WSGI environment that takes a place for a slow client and returns a function that leaves it.

It raises `SlowRequestsBusy` if all places are taken. A server without a limit has no such member.
"""


def streamed(
    request: HttpRequest, chunks: Generator[bytes], *, length: int, status: int, headers: Mapping[str, str]
) -> StreamingHttpResponse:
    """Return a response with `length` bytes. `chunks` is closed when the response is, even if the client stops reading.

    If `chunks` raises an error or ends early, the server breaks the connection, so that the client does not take a part
    of the body for the whole. Raises `SlowRequestsBusy`.
    """
    take = request.META.get(PLACE)
    body = _Body(chunks, take() if take else _nothing)
    return StreamingHttpResponse(body, status=status, headers={**headers, "Content-Length": str(length)})


def streamed_file(
    request: HttpRequest, lines: Iterable[bytes], *, media_type: str, filename: str
) -> StreamingHttpResponse:
    """Return a response with the lines as a file to save. They are written to disk first, in constant memory.

    A slow client so needs no database connection. Raises `SlowRequestsBusy`.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        length = sum(file.write(line) for line in lines)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return streamed(request, _chunks(file), length=length, status=200, headers=headers)


def _chunks(file: IO[bytes]) -> Generator[bytes]:
    with file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _nothing() -> None:
    pass


class _Body:
    """The chunks of a response in their place. Django calls `close` once."""

    def __init__(self, chunks: Generator[bytes], leave: Callable[[], None]) -> None:
        self._chunks = chunks
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        try:
            self._chunks.close()
        finally:
            self._leave()


PAUSE = "coordinator.pause"
"""The member of the WSGI environment that sleeps for a number of seconds without a slot.

It raises `SlowRequestsBusy` if too many requests wait already. A server without slots has no such member.
"""

ARRIVED = "coordinator.arrived"
"""The member of the WSGI environment with the time of the monotonic clock before the body was read.

A server without slots has no such member.
"""


def arrived_at(request: HttpRequest) -> float:
    """Return the time of the monotonic clock at which the request arrived, or the present time if it is not known."""
    arrived: float = request.META.get(ARRIVED) or time.monotonic()
    return arrived


def pause(request: HttpRequest, seconds: float) -> None:
    """Sleep. Other requests can use the slot and the connection of this one meanwhile. Raises `SlowRequestsBusy`.

    In a transaction, the request keeps both.
    """
    request.META.get(PAUSE, time.sleep)(seconds)


_RANGE: Final = re.compile(r"bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*", re.IGNORECASE | re.ASCII)
_MOST_DIGITS: Final = 18
"""Numbers with more digits are beyond the end of any file."""
_TAG: Final = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)')


def requested_range(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """Return the positions of the bytes that a GET asks for; None for all of them.

    `size` is the size of the whole representation in bytes, and `etag` its strong entity tag, with the quotes. Only a
    single range is honoured. Everything else that the header may contain asks for the whole representation: several
    ranges, other units, malformed ranges, and an `If-Range` with another tag or with a date.

    Raises `RangeNotSatisfiable` if no byte of the representation is in the range.
    """
    wanted = _RANGE.fullmatch(headers.get("Range", ""))
    if wanted is None or headers.get("If-Range", etag).strip() != etag:
        return None
    first, last, suffix = wanted.groups()
    if suffix is not None:
        start, stop = max(size - _number(suffix), 0), size
    else:
        start, stop = _number(first), min(_number(last) + 1, size) if last else size
        if last and _number(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(f"The range is outside of the {size} bytes.", size=size)
    return range(start, stop)


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Return True if the client has the representation already, so that the response is 304.

    Raises `PreconditionFailed` if the client wants only another representation, by `If-Match`.
    """
    wanted = headers.get("If-Match")
    if wanted is not None and wanted.strip() != "*" and etag not in _tags(wanted):
        raise PreconditionFailed("The entity tag is not one of those in If-Match.")
    known = headers.get("If-None-Match")
    if known is None:
        return False
    return known.strip() == "*" or etag in {tag.removeprefix("W/") for tag in _tags(known)}


def _tags(text: str) -> list[str]:
    return _TAG.findall(text)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS
