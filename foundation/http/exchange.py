"""One HTTP request and its answer, to an address that was vetted: bounded in time and size. Pure.

The connection goes to one of the vetted addresses, whatever the name would resolve to by then; TLS checks the
certificate against the name. Redirects are not followed, nothing is taken from the environment, and no encoding of the
answer is undone. The time is that of the whole exchange: an answer that drips in is cut off as well as one that never
comes.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from foundation.http.address_guard import MOST_ADDRESSES, Target

LOOK_SECONDS = 3.0


class TimedOut(Exception):
    """No whole answer came in time, of what was to be read; what was asked may have been done all the same."""


class NotConnected(Exception):
    """No connection could be made; nothing was asked."""


class Broken(Exception):
    """The connection broke off, or what came is no HTTP; what was asked may have been done all the same."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and the body as it came; `complete` is False where it may have had more than what was to be read.

    `headers` has the names in lower case; of one that came several times, the last.
    """

    status: int
    body: bytes
    complete: bool
    headers: Mapping[str, str] = field(default_factory=dict)


def exchange(
    target: Target,
    method: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    connect_seconds: float,
    seconds: float,
    limit: int | None,
    ca_file: str = "",
    is_wanted: Callable[[], bool] | None = None,
) -> Answer:
    """Send one request and read at most `limit` bytes of its answer's body; where it is None, the head alone.

    Connecting to each address may take `connect_seconds`, TLS included, and all that follows `seconds`. `ca_file` names
    certificates in PEM form that stand in for the system's authorities. A separate thread calls `is_wanted` every
    LOOK_SECONDS, and closes the connection once it returns False. Raises `NotConnected`, `TimedOut`, `Broken`.
    """
    connection = _connected(target, connect_seconds, ca_file)
    with _cut_off(connection, seconds, is_wanted) as deadline:
        client = http.client.HTTPConnection(target.host, target.port, timeout=seconds)
        client.response_class = _Response
        client.sock = connection
        try:
            client.request(
                method, _path(target), body or None, {**headers, "Host": target.host_header, "Connection": "close"}
            )
            with client.getresponse() as response:
                text, complete = _body(response, limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline or isinstance(error, TimeoutError):
                raise TimedOut("no whole answer came in time") from None
            raise Broken(f"the exchange broke off ({type(error).__name__})") from None
        # A socket that was cut off looks like an answer that ended.
        if time.monotonic() >= deadline:
            raise TimedOut("no whole answer came in time")
    told = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, text, complete, headers=told)


class _Response(http.client.HTTPResponse):
    """A response whose head is whole. `http.client` takes the end of the connection for the end of the headers."""

    def begin(self) -> None:
        lines = self.fp = _Lines(self.fp.detach())
        super().begin()
        if lines.ended:
            raise http.client.IncompleteRead(b"")


class _Lines(io.BufferedReader):
    """Remembers in `ended` that no line was left to read."""

    ended = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.ended = self.ended or not line
        return line


def _body(response: http.client.HTTPResponse, limit: int | None) -> tuple[bytes, bool]:
    if limit is None:
        return b"", False
    text = response.read(limit + 1)
    if len(text) <= limit and response.length:
        raise http.client.IncompleteRead(text, response.length)
    return text[:limit], len(text) <= limit


def _connected(target: Target, seconds: float, ca_file: str) -> socket.socket:
    context = _context(ca_file) if target.scheme == "https" else None
    failure = "there is no address"
    for address in target.addresses[:MOST_ADDRESSES]:
        plain = None
        deadline = time.monotonic() + seconds
        try:
            plain = socket.create_connection((str(address), target.port), timeout=seconds)
            if context is None:
                return plain
            # It bounds the whole handshake, and not each wait in it.
            plain.settimeout(max(deadline - time.monotonic(), 0.001))
            return context.wrap_socket(plain, server_hostname=target.host)
        except OSError as error:
            failure = (
                "the certificate or TLS is not acceptable"
                if isinstance(error, ssl.SSLError)
                else "refused, or too slow"
            )
            if plain is not None:
                plain.close()
    raise NotConnected(failure)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise NotConnected(f"the authorities for TLS cannot be read ({type(error).__name__})") from None


@contextmanager
def _cut_off(connection: socket.socket, seconds: float, is_wanted: Callable[[], bool] | None) -> Iterator[float]:
    """Closes the connection at the end. Shuts it down after `seconds`, or earlier if the answer is not wanted."""

    def shut_down() -> None:
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)

    over = threading.Event()

    def look(is_wanted: Callable[[], bool]) -> None:
        while not over.wait(LOOK_SECONDS):
            if not is_wanted():
                shut_down()
                return

    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        if is_wanted is not None:  # it may block, and must not delay the timer
            threading.Thread(target=look, args=(is_wanted,), daemon=True).start()
        yield deadline
    finally:
        timer.cancel()
        over.set()
        connection.close()


def _path(target: Target) -> str:
    parts = urlsplit(target.url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
