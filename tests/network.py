"""Network guards, loaded with `-p`: no test calls another machine, and none calls anything inside a transaction.

Python's audit events report each name that is looked up and each connection that is opened. There is no event for
sending, so the methods of `socket.socket` and `ssl.SSLSocket` that send are wrapped: every client (redis, kombu,
urllib3, botocore) ends there, also over a connection that was open before. libpq connects and sends in C, so the
database's own traffic is not seen.
"""

import functools
import ipaddress
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections

calls: list[str] = []
"""The network calls of the running test inside a transaction of the product, each with the line that made it."""

REPOSITORY = Path(__file__).parent.parent
SENDING = ("send", "sendall", "sendto", "sendmsg", "sendfile")

SERVERS = {urlsplit(os.environ.get(name, "")).hostname for name in ("DATABASE_URL", "REDIS_URL")}


class NotLocalError(RuntimeError):
    """Raised at the place that tries to reach another machine."""


@pytest.fixture(autouse=True)
def no_network_in_a_transaction() -> Iterator[None]:
    """Fails a test in which a network call happens inside a transaction, even where the error is swallowed."""
    calls.clear()
    yield
    made, calls[:] = list(calls), []
    if made:
        pytest.fail(f"inside a transaction: {'; '.join(made)}")


def in_transaction() -> bool:
    """Whether this thread is inside an atomic block other than those that Django's test case wraps around a test."""
    return any(
        not getattr(block, "_from_testcase", False)
        for connection in connections.all(initialized_only=True)
        for block in getattr(connection, "atomic_blocks", ())
    )


def is_local(address: Any) -> bool:
    """True for Unix sockets, loopback addresses, and the servers that the environment named for the tests."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in {None, "", "localhost", *SERVERS}:
        return True
    return _is_literal(host) and ipaddress.ip_address(host).is_loopback


def _is_literal(host: Any) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _require_local(arguments[1])
        _note("connected to", arguments[1])
    elif event == "socket.getaddrinfo":
        _require_local((arguments[0],))
        if not _is_literal(arguments[0]):
            _note("looked up", arguments[0])


def _require_local(address: Any) -> None:
    if not is_local(address):
        raise NotLocalError(f"tests stay on this machine, but {address} was called")


def _note(call: str, address: Any) -> None:
    if in_transaction():
        calls.append(f"{call} {address} at {_caller()}")


def _caller() -> str:
    """The innermost line of this repository, this module apart, that led to the call."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented by Python
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(REPOSITORY) and ".venv" not in path.parts and path != Path(__file__):
            return f"{path.relative_to(REPOSITORY)}:{frame.f_lineno}"
        frame = frame.f_back
    return "a thread of a library"


def _watch(kind: type[socket.socket], name: str) -> None:
    send: Callable[..., Any] = getattr(kind, name)

    @functools.wraps(send)
    def watched(connection: socket.socket, *arguments: Any, **options: Any) -> Any:
        if in_transaction() and (peer := _peer(connection)):
            _note("sent to", peer)
        return send(connection, *arguments, **options)

    setattr(kind, name, watched)


def _peer(connection: socket.socket) -> Any:
    """Whom a socket is connected to; empty for one of a pair, which leads to this very process."""
    try:
        return connection.getpeername()
    except OSError:
        return "nobody"


sys.addaudithook(_on_event)
for _name in SENDING:
    _watch(socket.socket, _name)
for _name in ("send", "sendall", "write"):
    _watch(ssl.SSLSocket, _name)
