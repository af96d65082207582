"""A proxy that terminates TLS for a server without TLS."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.building import at_port
from tests.tcp_proxy import TcpProxy


def over_tls(url: str, port: int) -> str:
    """Return the `rediss://` URL for the server of a `redis://` URL behind a TLS proxy on `port`."""
    return at_port(url, port, scheme="rediss")


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
