"""Network guards, loaded with `-p`: no test calls another machine, and none calls anything inside a transaction."""

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
    """Raised at the place that tries to reach another machine."""


@pytest.fixture(autouse=True)
def no_network_in_a_transaction() -> Iterator[None]:
    """Fails a test in which a network call happens inside a transaction, even where the error is swallowed.

    The calls of the running product count too, even if another test caused them.
    """
    yield
    if calls := transaction_calls.take():
        pytest.fail(f"inside a transaction: {'; '.join(calls)}")


def is_local(address: Any) -> bool:
    """True for Unix sockets, loopback addresses, and the servers that the environment named for the tests."""
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
        raise NotLocalError(f"tests stay on this machine, but {address} was called")


sys.addaudithook(_on_event)
transaction_calls.watch()
