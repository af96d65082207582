"""A proxy that terminates TLS for a server without TLS, and certificates for the proxy."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


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


@contextmanager
def tls_in_front_of(port: int, certificate: Path, *, plain_too: bool = False) -> Iterator[int]:
    """Accept TLS on a free port of 127.0.0.1 and forward to `port`. Yields the free port.

    With `plain_too`, clients that begin without TLS are served too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def serve(accepted: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            _wrapped(context, accepted, plain_too) as client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            _forward(client, server)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _wrapped(context: ssl.SSLContext, accepted: socket.socket, plain_too: bool) -> socket.socket:
    # 22 is the type of a record of the handshake.
    if plain_too and accepted.recv(1, socket.MSG_PEEK) != b"\x16":
        return accepted
    return context.wrap_socket(accepted, server_side=True)


def _forward(client: socket.socket, server: socket.socket) -> None:
    """Forward in both directions until either side ends, with one reading thread for each, since TLS buffers."""

    def back() -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=back, daemon=True)
    thread.start()
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
