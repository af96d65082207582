"""Child processes that end with the process that started them, even if that one is killed."""

import os
import random
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Self

_GUARD = Path(__file__).with_name("guard.py")
# Below the kernel's ephemeral range, so that no outgoing connection takes a port before it is used, and above all ports
# that browsers block.
_PORTS = range(20_000, 32_768)
_returned_ports: set[int] = set()


class ChildError(Exception):
    """A child process could not start, or it has ended. The message contains the end of its log."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system account for a child process. Only root can start a process as another account."""

    uid: int
    gid: int


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1 below 32768. A process never gets the same port twice.

    Raises `OSError` if 1000 attempts find none.
    """
    for _ in range(1000):
        port = random.choice(_PORTS)  # noqa: S311 - not a secret
        if port in _returned_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _returned_ports.add(port)
        return port
    raise OSError("no free port on 127.0.0.1")


class Child:
    """A running command. It ends, with all processes that it started, when the current process ends or is killed.

    The command runs in a separate session, so Ctrl-C in the terminal reaches only the current process, which decides
    in which order to stop its children. Standard output and standard error are appended to `log`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        """Start the command. Raises `ChildError` if it cannot be executed.

        `stdin` and `stdout` are file descriptors to use instead of an empty input and of `log`.
        """
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        report, report_end = os.pipe()
        user = f"{account.uid}:{account.gid}" if account else ":"
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(report_end), user]
        with log.open("ab") as output:
            try:
                self._guard = subprocess.Popen(
                    [*guard, *map(str, command)],
                    stdin=stdin,
                    stdout=output if stdout is None else stdout,
                    stderr=output,
                    env=environment,
                    cwd=directory,
                    pass_fds=[report_end],
                    start_new_session=True,
                )
            finally:
                os.close(report_end)
        with os.fdopen(report) as lines:
            self.pid = self._started(lines.read().splitlines())

    def _started(self, report: list[str]) -> int:
        if len(report) == 1 and report[0].isdigit():
            return int(report[0])
        self._guard.wait()
        raise ChildError(f"{self.name} could not start: {report[-1] if report else self.log_tail()}")

    @property
    def status(self) -> int | None:
        """The exit status, or None while the command runs. It is 128 + N if signal N ended the command."""
        return self._guard.poll()

    @property
    def guard_pid(self) -> int:
        """The process id of the guard: a child of this process, and the parent of the command."""
        return self._guard.pid

    @property
    def running(self) -> bool:
        return self.status is None

    def send(self, number: Signals) -> None:
        """Send a signal to the command, but not to the processes that it started. Does nothing if it has ended."""
        if not self.running:
            return
        if number in {SIGKILL, SIGSTOP}:  # the guard cannot catch and forward these two
            os.kill(self.pid, number)
        else:
            self._guard.send_signal(number)

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit status when the command and all its descendants have ended. Raises `TimeoutError`."""
        try:
            return self._guard.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} still runs after {seconds:g} s") from error

    def stop(self, *, grace: float = 10.0, number: Signals = SIGTERM) -> int:
        """Send the signal `number`, and SIGKILL after `grace` seconds. Return the exit status."""
        self.send(number)
        try:
            return self.wait(grace)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """Kill the command and all its descendants. Return the exit status."""
        self.send(SIGKILL)
        return self.wait()

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def require_running(self) -> None:
        """Raise `ChildError` with the end of the log if the command has ended."""
        if not self.running:
            raise ChildError(f"{self.name} ended with status {self.status}:\n{self.log_tail()}")


class Children:
    """A context manager that stops all the child processes that it has started."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.started: list[Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Child:
        """Start a command that logs to `<name>.log`. Raises `ChildError`."""
        log = self.logs / f"{name}.log"
        child = Child(command, name=name, log=log, environment=environment, directory=directory)
        self.started.append(child)
        return child

    def require_running(self) -> None:
        """Raise `ChildError` for the first child that has ended."""
        for child in self.started:
            child.require_running()

    def stop(self, grace: float = 10.0) -> None:
        """Send SIGTERM to all children, newest first, and SIGKILL to those that run after `grace` seconds."""
        deadline = time.monotonic() + grace
        for child in reversed(self.started):
            child.send(SIGTERM)
        while self.started:
            child = self.started[-1]
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                child.kill()
            self.started.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Server(ABC):
    """A server on 127.0.0.1, which is a child process with data in a folder. As a context manager, it is running."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.port = port or free_port()
        self.child: Child | None = None

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it is ready. Raises `ChildError` with the end of the log."""

    def stop(self) -> None:
        """Shut down, so that all data is on disk if the server is durable."""
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        if self.child is not None:
            self.child.kill()

    def _run(self, child: Child, is_ready: Callable[[], bool], *, seconds: float, pause: float) -> None:
        """Return when the server is ready. Kill it, and raise `ChildError`, if it ends or is not ready in time."""
        self.child = child
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not child.running or time.monotonic() > deadline:
                child.kill()
                raise ChildError(f"{child.name} does not accept requests:\n{child.log_tail()}")
            time.sleep(pause)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
