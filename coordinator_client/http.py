"""One HTTP request and its response, limited in time.

Redirects are not followed, the environment (proxies, .netrc) is ignored, no cookie is kept, and the body is not
decoded. The time limit applies to the whole exchange, so a response that arrives byte by byte is cut off too.

This uses `http.client` and not urllib3 (ADR 41). A request opens a new connection, unless the caller passes `Idle`:
if a server closes a connection that is being reused, a client cannot know whether a POST was executed.
"""

from __future__ import annotations

import http.client
import io
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

from coordinator_client.errors import Broken, ClientError, NotConnected, NotSent, TimedOut, Unreachable
from wire.addresses import DEFAULT_PORTS

CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 120.0
"""How long a server may send nothing, unless the caller limits that or the whole exchange."""
IDLE_SECONDS: Final = 15.0
"""How long a connection is kept after a request. Servers and proxies close theirs later."""
MOST_IDLE: Final = 32
PIECE: Final = 64 * 1024
"""The largest piece of a response, in bytes."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, and the addresses of its host that may be called."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[Address, ...]

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        address = urlsplit(self.url)
        return (address.path or "/") + (f"?{address.query}" if address.query else "")


class Idle:
    """Connections to one server that are open between requests. Safe to use from many threads.

    Only for requests that may be sent twice: the server may close a connection while it gets the next request.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, socket.socket]] = []
        self._process = os.getpid()

    def taken(self) -> socket.socket | None:
        """Return a connection that the server has not closed, or None."""
        if self._process != os.getpid():  # a fork: the connections are those of the parent
            self.close()
            self._process = os.getpid()
        while True:
            try:
                since, connection = self._kept.pop()
            except IndexError:
                return None
            if time.monotonic() - since < IDLE_SECONDS and not _has_input(connection):
                return connection
            connection.close()

    def keep(self, connection: socket.socket) -> None:
        if len(self._kept) < MOST_IDLE:
            self._kept.append((time.monotonic(), connection))
        else:
            connection.close()

    def close(self) -> None:
        while self._kept:
            self._kept.pop()[1].close()


def _has_input(connection: socket.socket) -> bool:
    """Return True if a connection that should be silent has data or has ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


class Body(Protocol):
    """A body that is produced while it is sent. Its length is known before."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


class Response:
    """A response whose body is not read yet. The names in `headers` are in lower case; the last of a name counts."""

    def __init__(self, response: http.client.HTTPResponse, deadline: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self.length = response.length
        """The declared length of the body in bytes; None if it is not known."""
        self.has_end = response.chunked or response.length is not None
        """True if the response says where its body ends, so that a lost connection is not taken for its end."""
        self.is_complete = False
        """True once the whole body has been read."""
        self._response = response
        self._deadline = deadline

    @property
    def leaves_connection(self) -> bool:
        """True if the connection can carry another request."""
        return self.is_complete and self.has_end and not self._response.will_close

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises `TimedOut`, and `Broken`, also if it ends early."""
        received = 0
        while self.length is None or received < self.length:
            with _failures(self._deadline):
                piece = self._response.read1(PIECE if self.length is None else min(PIECE, self.length - received))
                if not piece and self.length is not None:
                    raise http.client.IncompleteRead(b"", self.length - received)
            if not piece:
                break
            received += len(piece)
            yield piece
        if time.monotonic() >= self._deadline:  # a connection that was cut off looks like the end of a body
            raise TimedOut("no complete response in time")
        self.is_complete = True

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
    idle: Idle | None = None,
) -> Iterator[Response]:
    """Send a request to a web address, and yield its response.

    With `idle`, it is sent over one of these connections, if there is one.
    Everything after connecting may take `seconds`, and each silence of the server `silent_seconds`. Without both, a
    silence may last SILENT_SECONDS, and the whole is not limited.
    `ca_file` contains certificates in PEM form that replace the authorities of the system. Raises `Unreachable`, and
    `ClientError` if the certificates cannot be read.
    """
    try:
        target = target_of(url)
        connection = idle.taken() if idle is not None else None
        if connection is None:
            context = tls_context(ca_file) if target.scheme == "https" else None
            addresses = tuple(map(ip_address, resolve(target.host, target.port)))
            connection = connected(replace(target, addresses=addresses), CONNECT_SECONDS, context)
    except socket.gaierror:
        raise NotConnected(f"the name {urlsplit(url).hostname} does not resolve") from None
    except ssl.SSLError:
        raise NotConnected("TLS failed, or the certificate is not valid") from None
    except (OSError, ValueError) as error:
        raise NotConnected(f"no connection ({type(error).__name__})") from None
    # The length is given, because http.client would otherwise send a body that it iterates over in chunks.
    length = {"Content-Length": str(len(body))} if method in {"POST", "PUT", "PATCH"} else {}
    with exchanged(
        connection,
        target,
        method,
        body,
        {**headers, **length},
        seconds=seconds,
        silent_seconds=silent_seconds,
        # A server that refuses a large body may respond and close the connection before it has read all of it.
        may_respond_early=True,
        keep=idle.keep if idle is not None else None,
    ) as response:
        yield response


@contextmanager
def exchanged(
    connection: socket.socket,
    target: Target,
    method: str,
    body: bytes | Body,
    headers: Mapping[str, str],
    *,
    seconds: float | None,
    silent_seconds: float | None = None,
    may_respond_early: bool = False,
    keep: Callable[[socket.socket], None] | None = None,
) -> Iterator[Response]:
    """Send a request over a connection, and yield its response. Close the connection at the end of the block.

    A connection that can carry another request is passed to `keep` instead.

    The limits are those of `opened`. Raises `TimedOut`, `Broken`, and `NotSent` if the connection ends while the
    request is sent. With `may_respond_early`, the response is read nevertheless.
    """
    limits = [limit for limit in (seconds, silent_seconds) if limit is not None]
    is_kept = False
    try:
        with _cut_off(connection, seconds) as deadline:
            connection.settimeout(min(limits, default=SILENT_SECONDS))
            client = http.client.HTTPConnection(target.host, target.port)
            client.response_class = CompleteResponse
            client.sock = connection
            content: bytes | Iterable[bytes] | None = body if len(body) else None
            every = {**headers, "Host": target.host_header}
            if keep is None:
                every["Connection"] = "close"
            with _failures(deadline, NotSent):
                try:
                    client.request(method, target.path, content, every)
                except (BrokenPipeError, ConnectionResetError):
                    if not may_respond_early:
                        raise
            with _failures(deadline):
                response = client.getresponse()
            with response:
                received = Response(response, deadline)
                yield received
            is_kept = keep is not None and received.leaves_connection
    finally:
        if is_kept and keep is not None:
            keep(connection)
        else:
            connection.close()


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver finds. Raises `OSError`."""
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return what verifies certificates. Raises `ClientError` if the file with the authorities cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ClientError(f"the certificate authorities cannot be read ({type(error).__name__})") from None


def connected(target: Target, seconds: float, context: ssl.SSLContext | None) -> socket.socket:
    """Connect to the first address of the target that accepts the connection, with TLS if there is a `context`.

    Each address may take `seconds`, including TLS, which verifies the certificate against the name. Raises the
    `OSError` of the last address.
    """
    failure = OSError("there is no address")
    for address in target.addresses:
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
            failure = error
            if plain is not None:
                plain.close()
    raise failure


def shut_down(connection: socket.socket) -> None:
    """End a connection in the middle of an exchange. Its owner closes it."""
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def target_of(url: str) -> Target:
    """Return the target without its addresses. Raises `NotConnected`, and `ValueError` for an invalid port."""
    address = urlsplit(url)
    if address.scheme not in DEFAULT_PORTS:
        raise NotConnected("the address is not one of http or https")
    host, port = address.hostname or "", address.port or DEFAULT_PORTS[address.scheme]
    return Target(url, address.scheme, host, port, ())


class CompleteResponse(http.client.HTTPResponse):
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


@contextmanager
def _cut_off(connection: socket.socket, seconds: float | None) -> Iterator[float]:
    """Shut the connection down after `seconds`, also if bytes still arrive.

    Yields the deadline, as a reading of `time.monotonic`.
    """
    timer = None
    deadline = float("inf")
    if seconds is not None:
        deadline = time.monotonic() + seconds
        timer = threading.Timer(seconds, shut_down, [connection])
        timer.daemon = True
        timer.start()
    try:
        yield deadline
    finally:
        if timer is not None:
            timer.cancel()
