"""A TCP relay to a server that can refuse connections, withhold responses, or cut them off."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Relay:
    """Relays 127.0.0.1:`port` to the port `target`. Faults apply at once, also to open connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.stalled = threading.Event()
        self.refusing = False
        self.cut_after: int | None = None
        """The number of response bytes after which the connection is closed, or None for no limit."""
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def repair(self) -> None:
        """End all faults."""
        self.stalled.clear()
        self.refusing, self.cut_after = False, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        # On a busy machine it may still be about to accept a connection.
        self._accepting.join(10)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_response: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.refusing or (is_response and self.stalled.is_set()):
                    if self.refusing:
                        break
                    continue  # dropped, so that the client waits for a response
                passed += len(data)
                if is_response and self.cut_after is not None and passed > self.cut_after:
                    target.sendall(data[: max(0, len(data) - (passed - self.cut_after))])
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
