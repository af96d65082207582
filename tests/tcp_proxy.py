"""A proxy in front of a server that fails as a network does: it falls silent, or forgets connections."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
        """Return the URL with the port of this proxy."""
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
        """Return the connection on which a client sends what is forwarded."""
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
