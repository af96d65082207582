"""Sends one HTTP request to a vetted address and returns its response, bounded in time and size. Pure.

The connection goes to one of the vetted addresses, even if the name resolves to another one by then. TLS verifies the
certificate against the name. Redirects are not followed, the environment (proxies, .netrc) is ignored, and the body is
not decoded. The time limit applies to the whole exchange, so a response that arrives byte by byte is cut off too.

This uses `http.client` and not urllib3 (ADR 41). The time limits of urllib3 apply to each read, and it accepts a
response that ends within its headers. Each request opens a new connection: if a server closes a connection that is
being reused, the client cannot know whether a POST was executed.
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

CHECK_SECONDS = 3.0
PIECE = 64 * 1024
"""The largest piece of a body that `receive` gets, in bytes."""


class TimedOut(Exception):
    """No complete response arrived in time. The server may have executed the request."""


class NotConnected(Exception):
    """No connection could be opened. Nothing was sent."""


class Broken(Exception):
    """The connection was lost, or the response is not HTTP. The server may have executed the request."""


class NotSent(Broken):
    """The connection was lost before the request was sent. The server has not received all of it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `complete` is False if the body may be longer than `body`, or than what `receive` got.

    The names in `headers` are in lower case. Of a repeated header, `headers` contains the last one.
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
    receive: Callable[[bytes], object] | None = None,
    silent_seconds: float | None = None,
) -> Response:
    """Send one request, and read at most `limit` bytes of the response's body; with None, only its headers.

    Connecting to each address may take `connect_seconds`, including TLS, and everything after it `seconds`. `ca_file`
    contains certificates in PEM form that replace the authorities of the system. A separate thread calls `is_wanted`
    every CHECK_SECONDS, and closes the connection once it returns False. Raises `NotConnected`, `TimedOut`, `Broken`.

    `receive` is for large bodies. It gets the body of a response with status 200 in pieces, as they arrive, and the
    response's `body` is empty. A body that declares a length beyond `limit`, or has another status, is not read. The
    pieces are a complete body only if the response is `complete`. What `receive` raises ends the exchange. With
    `silent_seconds`, a server that sends nothing for that time is `TimedOut`.
    """
    connection = _connected(target, connect_seconds, ca_file)
    with _cut_off(connection, seconds, is_wanted) as deadline:
        connection.settimeout(min(seconds, silent_seconds or seconds))
        client = http.client.HTTPConnection(target.host, target.port)
        client.response_class = _Response
        client.sock = connection
        with _failures(deadline, NotSent):
            client.request(
                method, _path(target), body or None, {**headers, "Host": target.host_header, "Connection": "close"}
            )
        with _failures(deadline):
            response = client.getresponse()
        with response:
            if receive is None:
                with _failures(deadline):
                    text, complete = _body(response, limit)
            else:
                text = b""
                complete = response.status == 200 and _pass_on(response, limit or 0, receive, deadline)
        # A connection that was cut off looks like the end of a response.
        if time.monotonic() >= deadline:
            raise TimedOut("no complete response in time")
    lower = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, text, complete, headers=lower)


class _Response(http.client.HTTPResponse):
    """A response with complete headers. `http.client` takes the end of the connection for the end of the headers."""

    def begin(self) -> None:
        lines = self.fp = _Lines(self.fp.detach())
        super().begin()
        if lines.ended:
            raise http.client.IncompleteRead(b"")


class _Lines(io.BufferedReader):
    """Sets `ended` when no line is left to read."""

    ended = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.ended = self.ended or not line
        return line


@contextmanager
def _failures(deadline: float, broken: type[Broken] = Broken) -> Iterator[None]:
    """Turn the errors of the connection and of its response into `TimedOut` and `broken`."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise TimedOut("no complete response in time") from None
        raise broken(f"the exchange failed ({type(error).__name__})") from None


def _body(response: http.client.HTTPResponse, limit: int | None) -> tuple[bytes, bool]:
    if limit is None:
        return b"", False
    text = response.read(limit + 1)
    if len(text) <= limit and response.length:
        raise http.client.IncompleteRead(text, response.length)
    return text[:limit], len(text) <= limit


def _pass_on(
    response: http.client.HTTPResponse, limit: int, receive: Callable[[bytes], object], deadline: float
) -> bool:
    """Pass the body to `receive`. Return False, and stop, if it has more than `limit` bytes."""
    declared = response.length
    if declared is not None and declared > limit:
        return False
    received = 0
    while declared is None or received < declared:
        with _failures(deadline):
            piece = response.read1(PIECE if declared is None else min(PIECE, declared - received))
            if not piece and declared is not None:
                raise http.client.IncompleteRead(b"", declared - received)
        if not piece:
            break
        if received + len(piece) > limit:
            return False
        receive(piece)
        received += len(piece)
    return True


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
            # This timeout applies to the whole handshake, not to each read.
            plain.settimeout(max(deadline - time.monotonic(), 0.001))
            return context.wrap_socket(plain, server_hostname=target.host)
        except OSError as error:
            failure = (
                "TLS failed, or the certificate is not valid"
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
        raise NotConnected(f"the certificate authorities cannot be read ({type(error).__name__})") from None


@contextmanager
def _cut_off(connection: socket.socket, seconds: float, is_wanted: Callable[[], bool] | None) -> Iterator[float]:
    """Close the connection at the end. Shut it down after `seconds`, or earlier if the response is not wanted.

    Yields the deadline, as a reading of `time.monotonic`.
    """

    def shut_down() -> None:
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)

    over = threading.Event()

    def check(is_wanted: Callable[[], bool]) -> None:
        while not over.wait(CHECK_SECONDS):
            if not is_wanted():
                shut_down()
                return

    deadline = time.monotonic() + seconds
    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        if is_wanted is not None:  # a separate thread, because `is_wanted` may block and must not delay the timer
            threading.Thread(target=check, args=(is_wanted,), daemon=True).start()
        yield deadline
    finally:
        timer.cancel()
        over.set()
        connection.close()


def _path(target: Target) -> str:
    parts = urlsplit(target.url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
