import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from django.conf import settings
from django.db import transaction
from redis import Redis

from tests import network, transaction_calls
from tests.cases import cases
from tests.receiving import receiving

CERTIFICATE = Path(__file__).parent / "unit" / "foundation" / "tls" / "receiver.pem"
PROCESS = """
import socket, sys
import django
django.setup()
from django.db import transaction
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with transaction.atomic():
    connection.send(b"x")
"""

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_a_connection_and_a_look_up_are_noticed_inside_a_transaction_only(listener: tuple[str, int]) -> None:
    """The transaction around the test does not count, and a process wakes its own threads over a pair of sockets."""
    socket.create_connection(listener).close()
    sender, receiver = socket.socketpair()
    with sender, receiver, transaction.atomic():
        sender.send(b"x")
    assert transaction_calls.take() == []
    with transaction.atomic():
        socket.create_connection(listener).close()
        socket.getaddrinfo("localhost", 1)
    connected, looked_up = transaction_calls.take()
    assert connected.startswith(f"connected to {listener} at tests/test_network.py:")
    assert looked_up.startswith("looked up localhost")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_call_over_an_open_connection_is_noticed() -> None:
    with (
        receiving() as plain,
        receiving(certificate=CERTIFICATE) as secure,
        urllib3.PoolManager(cert_reqs="CERT_NONE") as pool,
        Redis.from_url(settings.CELERY_BROKER_URL) as redis,
    ):
        for call in (
            lambda: pool.request("POST", plain.url()),
            lambda: pool.request("POST", secure.url(scheme="https")),
            redis.ping,
        ):
            call()
            assert transaction_calls.take() == []
            with transaction.atomic():
                call()
            calls = transaction_calls.take()
            assert calls
            assert all(text.startswith("sent to") for text in calls)


def test_a_process_of_the_product_is_watched(listener: tuple[str, int]) -> None:
    environment = {**os.environ, **transaction_calls.environment(), "DJANGO_SETTINGS_MODULE": "coordinator.settings"}
    subprocess.run([sys.executable, "-c", PROCESS, str(listener[1])], env=environment, check=True)
    [call] = transaction_calls.take()
    assert call.startswith(f"sent to {listener}")


@cases("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_a_connection_to_another_machine_is_rejected(host: str) -> None:
    with pytest.raises(network.NotLocalError):
        socket.create_connection((host, 9), timeout=0.1)
