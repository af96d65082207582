"""One HTTP request and its response, limited in time.

Redirects are not followed, the environment (proxies, .netrc) is ignored, and no cookie is kept. Each request opens a
new connection: if a server closes a connection that is being reused, a client cannot know whether a POST was executed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Protocol
from urllib.parse import urlsplit

from coordinator_client.errors import ClientError, Unreachable

CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 120.0
"""How long a server may send nothing, unless the caller limits that or the whole exchange."""
PIECE: Final = 64 * 1024
"""The largest piece of a response, in bytes."""


class Body(Protocol):
    """A body that is produced while it is sent. Its length is known before."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


class Response:
    """A response whose body is not read yet. The names in `headers` are in lower case."""

    def __init__(self, response: http.client.HTTPResponse, deadline: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self.has_end = response.chunked or response.length is not None
        """True if the end of the body can be told from the end of the connection."""
        self._response = response
        self._deadline = deadline

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises `Unreachable`; also if it ends early."""
        declared, received = self._response.length, 0
        while declared is None or received < declared:
            with failures(self._deadline):
                piece = self._response.read1(PIECE if declared is None else min(PIECE, declared - received))
                if not piece and declared is not None:
                    raise http.client.IncompleteRead(b"", declared - received)
            if not piece:
                break
            received += len(piece)
            yield piece
        if time.monotonic() >= self._deadline:  # a connection that was cut off looks like the end of a body
            raise Unreachable("no complete response in time")

    def body(self, limit: int) -> bytes:
        """Return the body. Raises `Unreachable`; also if it has more than `limit` bytes."""
        text = bytearray()
        for piece in self.pieces():
            text += piece
            if len(text) > limit:
                raise Unreachable(f"the response has more than {limit:,} bytes")
        return bytes(text)


@contextmanager
def opened(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | Body = b"",
    ca_file: str = "",
    seconds: float | None = None,
    silent_seconds: float | None = None,
) -> Iterator[Response]:
    """Send a request to a web address, and yield its response.

    Everything after connecting may take `seconds`, and each silence of the server `silent_seconds`. Without both, a
    silence may last SILENT_SECONDS, and the whole is not limited.
    `ca_file` contains certificates in PEM form that replace the authorities of the system. Raises `Unreachable`, and
    `ClientError` if the certificates cannot be read.
    """
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca_file)
    try:
        try:
            connection.connect()
        except (OSError, ValueError) as error:
            raise Unreachable(f"no connection ({type(error).__name__})", sent=False) from None
        connection.sock.settimeout(silent_seconds or seconds or SILENT_SECONDS)
        with _cut_off(connection.sock, seconds) as deadline:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            with failures(deadline):
                _send(connection, method, target, body, {**headers, "Connection": "close"})
                response = connection.getresponse()
            with response:
                yield Response(response, deadline)
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, ca_file: str) -> http.client.HTTPConnection:
    if scheme.lower() != "https":
        return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ClientError(f"the certificate authorities cannot be read ({type(error).__name__})") from None
    return http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)


def _send(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes | Body, headers: dict[str, str]
) -> None:
    # The length is given, because http.client would otherwise send a body that it iterates over in chunks.
    length = {"Content-Length": str(len(body))} if method in {"POST", "PUT", "PATCH"} else {}
    content: bytes | Iterable[bytes] | None = body if len(body) else None
    # A server that refuses a large body may respond and close the connection before it has read all of it.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, target, content, {**headers, **length})


@contextmanager
def failures(deadline: float) -> Iterator[None]:
    """Turn the errors of a connection and of its response into `Unreachable`."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise Unreachable("no complete response in time") from None
        raise Unreachable(f"the exchange failed ({type(error).__name__})") from None


@contextmanager
def _cut_off(connection: socket.socket, seconds: float | None) -> Iterator[float]:
    """Shut the connection down after `seconds`, also if bytes still arrive. Yields the deadline of `time.monotonic`."""
    if seconds is None:
        yield float("inf")
        return

    def shut_down() -> None:
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)

    deadline = time.monotonic() + seconds
    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()
