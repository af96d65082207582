"""HTTP requests of an event loop, over connections that it keeps (ADR 108).

The guarantees are those of `coordinator_client.http`: no redirect, no proxy, a limit in time for the whole exchange,
and a complete response or an error. `http.client` writes requests and reads the heads of responses here too.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from coordinator_client.errors import Broken, ClientError, NotConnected, TimedOut, Unreachable
from coordinator_client.http import (
    CONNECT_SECONDS,
    IDLE_SECONDS,
    MOST_IDLE,
    CompleteResponse,
    Target,
    target_of,
    tls_context,
)

_LONGEST_HEAD: Final = 64 * 1024
_END: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """A complete response. The names in `headers` are in lower case; the last of a name counts."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Memory:
    """What `http.client` takes for a connection: it keeps what is sent, and what is received is known."""

    def __init__(self, received: bytes = b"") -> None:
        self.sent = bytearray()
        self._received = received

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._received))


@dataclass(slots=True, eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    @property
    def is_usable(self) -> bool:
        return time.monotonic() - self.idle_since < IDLE_SECONDS and not (
            self.reader.at_eof() or self.reader.exception() or self.writer.is_closing()
        )


class Connections:
    """Connections of one event loop to one server. Only for requests that may be sent twice, as `http.Idle`.

    At most `most` are open. Further requests wait for one of them, first come, first served.
    """

    def __init__(self, ca_file: str, most: int) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._places = asyncio.Semaphore(most)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._is_closed = False

    @property
    def are_all_taken(self) -> bool:
        """True if another request would have to wait for a connection."""
        return self._places.locked()

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float,
        place_seconds: float,
        most_bytes: int,
    ) -> Received:
        """Send a request and return its response.

        Waiting for a connection may take `place_seconds`, and the exchange `seconds`. Raises `Unreachable`:
        `NotConnected`, `TimedOut` and `Broken` as `http.opened`, and if the response has more than `most_bytes`.
        """
        target = target_of(url)
        try:
            async with asyncio.timeout(place_seconds if place_seconds < float("inf") else None):
                await self._places.acquire()
        except TimeoutError:
            raise TimedOut("no connection was free in time") from None
        try:
            async with self._connected(target) as connection:
                try:
                    async with asyncio.timeout(seconds):
                        return await self._exchanged(connection, target, method, headers, body, most_bytes)
                except TimeoutError:
                    raise TimedOut("no complete response in time") from None
                except (OSError, EOFError, ValueError, http.client.HTTPException, asyncio.LimitOverrunError) as error:
                    raise Broken(f"the exchange failed ({type(error).__name__})") from None
        finally:
            self._places.release()

    async def close(self) -> None:
        """Close all connections. Requests that are under way fail, and no further ones are sent."""
        self._is_closed = True
        for connection in list(self._open):
            connection.writer.close()
        self._idle.clear()
        self._open.clear()
        await asyncio.sleep(0)  # the transports close in the next turn of the loop

    @asynccontextmanager
    async def _connected(self, target: Target) -> AsyncIterator[_Connection]:
        """Yield a connection. It is kept if the block has set `idle_since`, and closed otherwise."""
        connection = self._kept() or await self._new(target)
        try:
            yield connection
        finally:
            if connection.idle_since and connection in self._open and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
            else:
                self._discard(connection)

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                connection.idle_since = 0.0
                return connection
            self._discard(connection)
        return None

    def _discard(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.writer.close()

    async def _new(self, target: Target) -> _Connection:
        if self._is_closed:
            raise ClientError("the client is closed")
        if target.scheme == "https" and self._context is None:
            self._context = tls_context(self._ca_file)
        context = self._context if target.scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    target.host, target.port, ssl=context, limit=_LONGEST_HEAD
                )
        except socket.gaierror:
            raise NotConnected(f"the name {target.host} does not resolve") from None
        except ssl.SSLError:
            raise NotConnected("TLS failed, or the certificate is not valid") from None
        except (OSError, TimeoutError) as error:
            raise NotConnected(f"no connection ({type(error).__name__})") from None
        if self._is_closed:  # while it was opened
            writer.close()
            raise ClientError("the client is closed")
        connection = _Connection(reader, writer)
        self._open.add(connection)
        return connection

    async def _exchanged(
        self,
        connection: _Connection,
        target: Target,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        most_bytes: int,
    ) -> Received:
        connection.writer.write(_request(target, method, headers, body))
        await connection.writer.drain()
        head = await connection.reader.readuntil(2 * _END)
        response = CompleteResponse(_Memory(head), method=method)  # type: ignore[arg-type]
        response.begin()
        content = await _content(connection.reader, response, most_bytes)
        if not response.will_close:
            connection.idle_since = time.monotonic()
        return Received(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def _request(target: Target, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    memory: Any = _Memory()
    client = http.client.HTTPConnection(target.host, target.port)
    client.sock = memory
    length = {"Content-Length": str(len(body))} if method in {"POST", "PUT", "PATCH"} else {}
    client.request(method, target.path, body or None, {**headers, **length, "Host": target.host_header})
    return bytes(memory.sent)


async def _content(reader: asyncio.StreamReader, head: http.client.HTTPResponse, most_bytes: int) -> bytes:
    too_large = Unreachable(f"the response has more than {most_bytes:,} bytes")
    if head.chunked:
        content = bytearray()
        while size := int((await reader.readuntil(_END)).partition(b";")[0], 16):
            if size < 0 or len(content) + size > most_bytes:
                raise too_large
            content += (await reader.readexactly(size + len(_END)))[:size]
        while await reader.readuntil(_END) != _END:  # trailers
            pass
        return bytes(content)
    if head.length is not None:
        if head.length > most_bytes:
            raise too_large
        return await reader.readexactly(head.length)
    content = bytearray()
    while piece := await reader.read(_LONGEST_HEAD):
        content += piece
        if len(content) > most_bytes:
            raise too_large
    return bytes(content)
