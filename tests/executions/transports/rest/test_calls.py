"""Calls of REST workers: allowed origins, the base URL, and signatures."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from executions.transports.rest import calls
from executions.workers.tenant_keys import current_key, start_key
from foundation.http.address_guard import TargetRefused
from tests import making
from tests.cases import cases
from tests.receiving import Received, receiving
from wire.messages.limits import TOLERANCE
from wire.messages.rest_messages import CAPABILITIES_PATH, Refused, check_signature


@cases(
    ("endpoint", "may"),
    [
        ("https://worker.example:8443", True),
        ("https://worker.example:8443/base/", False),
        ("HTTPS://Worker.Example:8443", True),
        ("http://10.0.0.1:80", True),
        ("http://10.0.0.1", True),
        ("https://worker.example", False),
        ("http://worker.example:8443", False),
        ("https://worker.example:8443@evil.example", False),
        ("https://worker.example:8443.evil.example", False),
        ("https://evil.example/https://worker.example:8443", False),
        ("https://sub.worker.example:8443", False),
        ("http://127.0.0.1", False),
        ("http://10.0.0.1:port", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_allowed_origins_may_be_called(settings: Any, endpoint: str, may: bool) -> None:
    settings.REST_WORKER_ORIGINS = ["https://worker.example:8443", "http://10.0.0.1"]
    assert calls.may_call(endpoint) is may


def test_workers_without_an_endpoint_are_called_at_the_base_url(settings: Any) -> None:
    settings.REST_WORKER_BASE_URL = "https://base.example/workers"
    assert calls.may_call("")
    assert calls.base_of("") == "https://base.example/workers"
    assert calls.base_of("http://a/") == "http://a"


def test_the_lease_is_longer_than_any_call(settings: Any) -> None:
    settings.REST_WORKER_CONNECT_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 20, 30
    assert calls.lease_seconds() > 3 * 20 + 30


@pytest.mark.django_db
def test_requests_are_signed_with_the_tenants_key(settings: Any) -> None:
    assert calls.secrets_of("a") != calls.secrets_of("b")
    settings.REST_WORKER_SECRET = "shared"
    assert calls.secrets_of("a") == calls.secrets_of("b") == ["shared"]


# --- while keys are rotated ---


def signed_with(secret: str, request: Received) -> bool:
    try:
        check_signature(
            secret, request.method, request.path, request.headers, b"", now=timezone.now(), tolerance=TOLERANCE
        )
    except Refused:
        return False
    return True


@pytest.mark.django_db
def test_a_worker_that_has_the_old_key_is_called_again_with_it(settings: Any) -> None:
    owner = making.tenant()
    old = current_key(owner.slug)
    new = start_key(owner, actor="user:test")
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [401, 200]
        assert calls.call(worker.url(path=""), owner.slug, "POST", CAPABILITIES_PATH).status == 200
        first, second = worker.requests
    assert signed_with(new.text, first)
    assert signed_with(old.text, second)


def test_an_origin_that_is_not_allowed_is_not_called(settings: Any) -> None:
    settings.REST_WORKER_SECRET = "secret"
    with receiving() as other:
        settings.REST_WORKER_ORIGINS = ["http://worker.example"]
        with pytest.raises(TargetRefused):
            calls.call(other.url(path=""), "acme", "POST", CAPABILITIES_PATH)
        assert other.requests == []


@cases("status", [200, 400, 403, 500])
def test_no_other_response_causes_a_second_call(settings: Any, status: int) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [status]
        assert calls.call(worker.url(path=""), "acme", "POST", CAPABILITIES_PATH).status == status
        assert len(worker.requests) == 1


def test_a_worker_that_rejects_every_secret_is_unauthorized(settings: Any) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [401]
        assert calls.call(worker.url(path=""), "acme", "POST", CAPABILITIES_PATH).status == 401
        assert [signed_with("old", each) for each in worker.requests] == [False, True]


def write_certificate(path: Path) -> None:
    """Write a key and a certificate for 127.0.0.1, signed by that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "worker")]), timezone.now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + TOLERANCE)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(text + signed.public_bytes(pem))


@contextmanager
def refusing_after_a_slow_handshake(certificate: Path, seconds: float) -> Iterator[tuple[int, list[float]]]:
    """A TLS server that responds with 401, and takes `seconds` for each handshake. Yield its port and connections."""
    connections: list[float] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                connections.append(time.monotonic())
                time.sleep(seconds)
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], connections
        listener.shutdown(socket.SHUT_RDWR)


def test_no_further_secret_is_tried_after_the_timeout(settings: Any, tmp_path: Path) -> None:
    """The timeout includes connecting, so a slow worker is not connected to again for each secret."""
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "1", ["2", "3", "4"]
    settings.REST_WORKER_CONNECT_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 5, 1
    certificate = tmp_path / "worker.pem"
    write_certificate(certificate)
    settings.REST_WORKER_CA_FILE = str(certificate)
    with refusing_after_a_slow_handshake(certificate, 1.1) as (port, connections):
        endpoint = f"https://127.0.0.1:{port}"
        settings.REST_WORKER_ORIGINS = [endpoint]
        assert calls.call(endpoint, "acme", "GET", CAPABILITIES_PATH).status == 401
    assert len(connections) == 1
