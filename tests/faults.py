"""A connection to a server that may fail: a TCP relay that refuses, stalls or interrupts what passes."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Relay:
    """Relays 127.0.0.1:`port` to `target`. Its faults apply to what is sent from now on, in open connections too."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.stalled = threading.Event()
        self.refusing = False
        self.cut_after: int | None = None
        """How many bytes of an answer pass before the connection is cut; None: all."""
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def well(self) -> None:
        """No fault any more."""
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
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.refusing or (answers and self.stalled.is_set()):
                    if self.refusing:
                        break
                    continue  # swallowed: the client waits for what never comes
                passed += len(data)
                if answers and self.cut_after is not None and passed > self.cut_after:
                    target.sendall(data[: max(0, len(data) - (passed - self.cut_after))])
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
