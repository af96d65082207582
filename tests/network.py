"""Network guards, loaded with `-p`: tests cannot call other machines, nor use the network in a transaction."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import transaction_calls
from tests.transaction_calls import is_literal

SERVERS = {urlsplit(os.environ.get(name, "")).hostname for name in ("DATABASE_URL", "REDIS_URL")}


class NotLocalError(RuntimeError):
    """Raised where a test tries to connect to another machine."""


@pytest.fixture(autouse=True)
def no_network_in_a_transaction() -> Iterator[None]:
    """Fail a test in which a network call happens inside a transaction, even if the error is suppressed.

    Calls of the running product also count, even if another test caused them.
    """
    yield
    if calls := transaction_calls.take():
        pytest.fail(f"inside a transaction: {'; '.join(calls)}")


def is_local(address: Any) -> bool:
    """True for Unix sockets, loopback addresses, and the servers that the environment names for the tests."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in {None, "", "localhost", *SERVERS}:
        return True
    return is_literal(host) and ipaddress.ip_address(host).is_loopback


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _require_local(arguments[1])
    elif event == "socket.getaddrinfo":
        _require_local((arguments[0],))


def _require_local(address: Any) -> None:
    if not is_local(address):
        raise NotLocalError(f"tests must not connect to another machine, but {address} was called")


sys.addaudithook(_on_event)
transaction_calls.watch()
