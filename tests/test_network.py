"""The guards of `tests.network` notice each kind of connection, whether it is new or was open before."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import urllib3
from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu import Connection
from redis import Redis

from tests import network, transaction_calls
from tests.receiving import receiving
from tests.s3 import S3Place, client_of

CERTIFICATE = Path(__file__).parent / "unit" / "foundation" / "tls" / "receiver.pem"

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_a_connection_inside_a_transaction_is_noticed(listener: tuple[str, int]) -> None:
    with transaction.atomic():
        socket.create_connection(listener).close()
    (call,) = transaction_calls.take()
    assert call.startswith(f"connected to {listener} at tests/test_network.py:")


def test_a_connection_outside_a_transaction_is_ignored(listener: tuple[str, int]) -> None:
    """The transaction around the test does not count."""
    socket.create_connection(listener).close()
    with transaction.atomic():
        pass
    assert transaction_calls.take() == []


def only_sent_in(call: str) -> bool:
    """Return True if the test's transaction made network calls, and all of them were sends that contain `call`."""
    calls = transaction_calls.take()
    return bool(calls) and all(each.startswith("sent to") and call in each for each in calls)


def test_a_send_over_an_open_connection_is_noticed(listener: tuple[str, int]) -> None:
    client = HTTPConnection(*listener)
    client.connect()
    with transaction.atomic():
        client.request("GET", "/")
    client.close()
    assert only_sent_in(str(listener))


def test_a_socket_pair_is_ignored() -> None:
    """A process wakes its own threads over such a pair."""
    one, other = socket.socketpair()
    with one, other, transaction.atomic():
        one.send(b"x")
    assert transaction_calls.take() == []


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("certificate", [None, CERTIFICATE], ids=["http", "https"])
def test_a_request_over_an_open_http_connection_is_noticed(certificate: Path | None) -> None:
    with receiving(certificate=certificate) as receiver, urllib3.PoolManager(cert_reqs="CERT_NONE") as pool:
        url = receiver.url(scheme="http" if certificate is None else "https")
        pool.request("POST", url)
        assert transaction_calls.take() == []
        with transaction.atomic():
            pool.request("POST", url)
    assert only_sent_in(f"'127.0.0.1', {receiver.port}")


def test_a_redis_command_over_an_open_connection_is_noticed() -> None:
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.ping()
        assert transaction_calls.take() == []
        with transaction.atomic():
            redis.publish("nowhere", "x")
    assert only_sent_in("tests/test_network.py")


def test_an_s3_request_over_an_open_connection_is_noticed(s3_server: S3Place) -> None:
    client = client_of(s3_server)
    client.head_bucket(Bucket=s3_server.bucket)
    assert transaction_calls.take() == []
    with transaction.atomic():
        client.head_bucket(Bucket=s3_server.bucket)
    assert only_sent_in("tests/test_network.py")


def test_a_message_of_kombu_over_an_open_connection_is_noticed() -> None:
    with Connection(settings.CELERY_BROKER_URL) as broker, broker.Producer() as producer:
        producer.publish({}, routing_key="nowhere", headers={"task": "tests.nothing"})
        assert transaction_calls.take() == []
        with transaction.atomic():
            producer.publish({}, routing_key="nowhere", headers={"task": "tests.nothing"})
    assert only_sent_in("wire/broker/client.py")


def test_a_task_over_an_open_connection_is_noticed() -> None:
    current_app.send_task("tests.nothing", queue="nowhere")
    assert transaction_calls.take() == []
    with transaction.atomic():
        current_app.send_task("tests.nothing", queue="nowhere")
    assert only_sent_in("wire/broker/client.py")


def test_a_name_that_is_looked_up_is_noticed() -> None:
    with transaction.atomic():
        socket.getaddrinfo("localhost", 1)
    (call,) = transaction_calls.take()
    assert call.startswith("looked up localhost")


_PROCESS = """
import socket, sys
import django
django.setup()
from django.db import transaction
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with transaction.atomic():
    connection.send(b"x")
"""


def test_a_process_of_the_product_is_watched(listener: tuple[str, int]) -> None:
    environment = {**os.environ, **transaction_calls.environment(), "DJANGO_SETTINGS_MODULE": "coordinator.settings"}
    subprocess.run([sys.executable, "-c", _PROCESS, str(listener[1])], env=environment, check=True)
    assert only_sent_in(str(listener))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_a_connection_to_another_machine_is_rejected(host: str) -> None:
    with pytest.raises(network.NotLocalError):
        socket.create_connection((host, 9), timeout=0.1)
