"""Guards over the network, loaded with `-p`: no call inside a transaction, and none to another machine.

Python's own audit events tell of every connection that is opened and every HTTP request that is sent, and Celery's
signal of every message, whoever makes them; nothing is replaced. PostgreSQL's driver connects in C and is not seen.
"""

import ipaddress
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import signals
from django.db import connections

calls: list[str] = []
"""The calls that the running test made inside a transaction of the product's."""

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
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _require_local(arguments[1])
        _note(f"connected to {arguments[1]}")
    elif event == "socket.getaddrinfo":
        _require_local((arguments[0],))
    elif event == "http.client.send":
        _note("sent an HTTP request")


def _require_local(address: Any) -> None:
    if not is_local(address):
        raise NotLocalError(f"tests stay on this machine, but {address} was called")


def _note(call: str) -> None:
    if in_transaction():
        calls.append(call)


@signals.before_task_publish.connect(weak=False)
def _on_message(sender: str, **_: Any) -> None:
    _note(f"sent the message {sender}")


sys.addaudithook(_on_event)
