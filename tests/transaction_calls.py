"""Records network calls inside a transaction, in the test process and in the processes of the product.

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
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).parent.parent
SENDING = ("send", "sendall", "sendto", "sendmsg", "sendfile")
FILE = "TRANSACTION_CALLS_FILE"
"""The environment variable that names the file to which calls are appended, one line for each."""


def environment() -> dict[str, str]:
    """Return the environment variables that make a process of the product record its calls."""
    path = [str(Path(__file__).parent / "watched"), str(REPOSITORY)]
    return {FILE: os.environ[FILE], "PYTHONPATH": os.pathsep.join(path)}


def watch() -> None:
    sys.addaudithook(_on_event)
    for name in SENDING:
        _wrap(socket.socket, name)
    for name in ("send", "sendall", "write"):
        _wrap(ssl.SSLSocket, name)


def take() -> list[str]:
    """Return the calls of all processes since the last call of this function."""
    global _taken
    file = Path(os.environ[FILE])
    calls = file.read_text().splitlines() if file.exists() else []
    latest, _taken = calls[_taken:], len(calls)
    return latest


_taken = 0


def in_transaction() -> bool:
    """Return True inside an atomic block, other than those that Django's test case puts around a test."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return False
    from django.db import connections

    return any(
        not getattr(block, "_from_testcase", False)
        for connection in connections.all(initialized_only=True)
        for block in getattr(connection, "atomic_blocks", ())
    )


def is_literal(host: Any) -> bool:
    """Return True if the host is an IP address, which needs no DNS lookup."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _note("connected to", arguments[1])
    elif event == "socket.getaddrinfo" and not is_literal(arguments[0]):
        _note("looked up", arguments[0])


def _wrap(kind: type[socket.socket], name: str) -> None:
    send: Callable[..., Any] = getattr(kind, name)

    @functools.wraps(send)
    def watched(connection: socket.socket, *arguments: Any, **options: Any) -> Any:
        if in_transaction() and (peer := _peer(connection)):
            _note("sent to", peer)
        return send(connection, *arguments, **options)

    setattr(kind, name, watched)


def _peer(connection: socket.socket) -> Any:
    """Return the address of the other end; empty for a socket pair, which is connected to this process."""
    try:
        return connection.getpeername()
    except OSError:
        return "an unconnected socket"


def _note(call: str, address: Any) -> None:
    if in_transaction():
        with Path(os.environ[FILE]).open("a") as calls:
            calls.write(f"{call} {address} at {_caller()}\n")


def _caller() -> str:
    """Return the innermost line of this repository, outside of this module, that led to the call."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented by Python
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(REPOSITORY) and ".venv" not in path.parts and path != Path(__file__):
            return f"{path.relative_to(REPOSITORY)}:{frame.f_lineno}"
        frame = frame.f_back
    return "a thread of a library"
