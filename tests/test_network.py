"""The guards of `tests.network` do see what they are there for."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from celery import current_app
from django.db import transaction

from tests import network

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def seen() -> list[str]:
    made, network.calls[:] = list(network.calls), []
    return made


def test_a_connection_inside_a_transaction_is_noticed(listener: tuple[str, int]) -> None:
    with transaction.atomic():
        socket.create_connection(listener).close()
    assert seen() == [f"connected to {listener}"]


def test_a_connection_outside_of_one_is_not(listener: tuple[str, int]) -> None:
    """The transaction that the test itself runs in does not count."""
    socket.create_connection(listener).close()
    with transaction.atomic():
        pass
    assert seen() == []


def test_a_request_over_an_open_connection_is_noticed(listener: tuple[str, int]) -> None:
    client = HTTPConnection(*listener)
    client.connect()
    with transaction.atomic():
        client.request("GET", "/")
    client.close()
    assert seen() == ["sent an HTTP request"]


def test_a_message_over_an_open_connection_is_noticed() -> None:
    current_app.send_task("tests.nothing", queue="nowhere")
    assert seen() == []
    with transaction.atomic():
        current_app.send_task("tests.nothing", queue="nowhere")
    assert "sent the message tests.nothing" in seen()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_another_machine_is_not_reached(host: str) -> None:
    with pytest.raises(network.NotLocalError):
        socket.create_connection((host, 9), timeout=0.1)
