"""A proxy that terminates TLS for a server without TLS, and certificates for the proxy."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.tcp_proxy import TcpProxy


def make_certificate(file: Path, address: str) -> Path:
    """Write a self-signed certificate for an IP address, with its key, and return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


def over_tls(url: str, port: int) -> str:
    """Return the `rediss://` URL for the server of a `redis://` URL behind a TLS proxy on `port`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="rediss", netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))


class TlsProxy(TcpProxy):
    """Accepts TLS and forwards without it. With `plain_too`, clients that begin without TLS are served too."""

    def __init__(self, target: int, certificate: Path, *, plain_too: bool) -> None:
        super().__init__(target)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._plain_too = plain_too

    def accepted(self, client: socket.socket) -> socket.socket:
        # 22 is the type of a record of the handshake.
        if self._plain_too and client.recv(1, socket.MSG_PEEK) != b"\x16":
            return client
        return self._context.wrap_socket(client, server_side=True)


@contextmanager
def tls_in_front_of(port: int, certificate: Path, *, plain_too: bool = False) -> Iterator[int]:
    """Accept TLS on a free port of 127.0.0.1 and forward to `port`. Yields the free port."""
    proxy = TlsProxy(port, certificate, plain_too=plain_too)
    proxy.start()
    try:
        yield proxy.port
    finally:
        proxy.stop()
