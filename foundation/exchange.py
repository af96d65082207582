"""Sends one HTTP request to a vetted address and returns its response, bounded in time and size. Pure.

The connection goes to one of the vetted addresses, even if the name resolves to another one by then. TLS verifies the
certificate against the name. `coordinator_client.http` sends the request and guards the response (ADR 41).
"""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from socket import socket

from coordinator_client import http
from coordinator_client.errors import ClientError, NotConnected
from coordinator_client.http import Target
from foundation.address_guard import MOST_ADDRESSES

CHECK_SECONDS = 3.0


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
    with (
        _watched(connection, is_wanted),
        http.exchanged(
            connection, target, method, body, headers, seconds=seconds, silent_seconds=silent_seconds
        ) as response,
    ):
        if receive is None:
            text, complete = _body(response, limit)
        else:
            text, complete = b"", response.status == 200 and _pass_on(response, limit or 0, receive)
    return Response(response.status, text, complete, headers=response.headers)


def _connected(target: Target, seconds: float, ca_file: str) -> socket:
    vetted = replace(target, addresses=target.addresses[:MOST_ADDRESSES])
    try:
        return http.connected(vetted, seconds, http.tls_context(ca_file) if target.scheme == "https" else None)
    except ssl.SSLError:
        raise NotConnected("TLS failed, or the certificate is not valid") from None
    except OSError:
        raise NotConnected("refused, or too slow") from None
    except ClientError as error:
        raise NotConnected(str(error)) from None


@contextmanager
def _watched(connection: socket, is_wanted: Callable[[], bool] | None) -> Iterator[None]:
    """Shut the connection down in the middle of the block if the response is not wanted."""
    over = threading.Event()

    def check(is_wanted: Callable[[], bool]) -> None:
        while not over.wait(CHECK_SECONDS):
            if not is_wanted():
                http.shut_down(connection)
                return

    try:
        if is_wanted is not None:  # a separate thread, because `is_wanted` may block and must not delay the timer
            threading.Thread(target=check, args=(is_wanted,), daemon=True).start()
        yield
    finally:
        over.set()


def _body(response: http.Response, limit: int | None) -> tuple[bytes, bool]:
    text = bytearray()
    if limit is None:
        return b"", False
    for piece in response.pieces():
        text += piece
        if len(text) > limit:
            break
    return bytes(text[:limit]), len(text) <= limit


def _pass_on(response: http.Response, limit: int, receive: Callable[[bytes], object]) -> bool:
    """Pass the body to `receive`. Return False, and stop, if it has more than `limit` bytes."""
    if response.length is not None and response.length > limit:
        return False
    received = 0
    for piece in response.pieces():
        received += len(piece)
        if received > limit:
            return False
        receive(piece)
    return True
