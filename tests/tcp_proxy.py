import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.building import at_port

CHUNK = 65536
KEEPALIVE_SECONDS = 5.0
"""How long one end of a forgotten connection stays open after the other has closed it."""


class TcpProxy:
    """Forwards connections on `port` of 127.0.0.1 to `target`, another port of it, from `start` to `stop`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._generation = 0

    def in_front_of(self, url: str) -> str:
        return at_port(url, self.port)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Forward nothing during the block. Connections stay open, new ones are accepted, and all continue after it."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def forget(self) -> None:
        """Forward nothing more on the present connections, which stay open. New connections work."""
        self._generation += 1

    def start(self) -> None:
        threading.Thread(target=self._accept, name=f"proxy-{self._target}", daemon=True).start()

    def stop(self) -> None:
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def accepted(self, client: socket.socket) -> socket.socket:
        return client

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        generation = self._generation
        with (
            contextlib.suppress(OSError),
            self.accepted(client) as client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            back = threading.Thread(target=self._forward, args=(server, client, generation), daemon=True)
            back.start()
            self._forward(client, server, generation)
            back.join()

    def _forward(self, source: socket.socket, target: socket.socket, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flowing.wait()
                if generation != self._generation:
                    continue
                target.sendall(data)
        if generation != self._generation:
            time.sleep(KEEPALIVE_SECONDS)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def over_tls(url: str, port: int) -> str:
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
