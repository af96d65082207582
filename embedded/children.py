"""Child processes that never outlive the process that started them, not even when that one is killed."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, SIGTERM, Signals
from types import TracebackType
from typing import Self

_GUARD = Path(__file__).with_name("guard.py")
# Below the kernel's ephemeral range, so that no outgoing connection takes a port between the choice and its
# use; and above every port that browsers refuse to open.
_PORTS = range(20_000, 32_768)
_handed_out: set[int] = set()


class ChildError(Exception):
    """A child could not be started or ended too early; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system account to run a child as; only root may."""

    uid: int
    gid: int


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, below 32768, and never the same twice in one process.

    Raises `OSError` when a thousand tries find none.
    """
    for _ in range(1000):
        port = random.choice(_PORTS)  # noqa: S311 - not a secret
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise OSError("no free port on 127.0.0.1")


class Child:
    """A running command with its log. It dies, and whatever it started, when this process ends in any way.

    The command runs in a session of its own, so a Ctrl-C at the terminal reaches only the supervisor, which
    decides the order in which to stop. Its standard output and error are appended to `log`.
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
    ) -> None:
        """Start the command; raises `ChildError` when it cannot be executed."""
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
                    stdin=subprocess.DEVNULL,
                    stdout=output,
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
        """The exit status (128 + signal when a signal ended it), or None while it runs."""
        return self._guard.poll()

    @property
    def guard_pid(self) -> int:
        """The process between us and the command: our child, and an ancestor of all the command starts."""
        return self._guard.pid

    @property
    def running(self) -> bool:
        return self.status is None

    def send(self, number: Signals) -> None:
        """Send a signal to the command itself, not to what it started; nothing happens when it has ended."""
        if not self.running:
            return
        if number in {SIGKILL, SIGSTOP}:  # no process can pass these two on
            os.kill(self.pid, number)
        else:
            self._guard.send_signal(number)

    def wait(self, seconds: float | None = None) -> int:
        """The exit status, once the command and all it started are gone; raises `TimeoutError`."""
        try:
            return self._guard.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} still runs after {seconds:g} s") from error

    def stop(self, *, grace: float = 10.0, number: Signals = SIGTERM) -> int:
        """Ask it to end, and kill it when it has not after `grace` seconds; returns the exit status."""
        self.send(number)
        try:
            return self.wait(grace)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL the command; what it started is killed with it. Returns the exit status."""
        self.send(SIGKILL)
        return self.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def require_running(self) -> None:
        """Raise `ChildError` with the end of the log when it has ended."""
        if not self.running:
            raise ChildError(f"{self.name} ended with status {self.status}:\n{self.log_tail()}")


class Children:
    """The children of one supervisor, stopped together; a context manager."""

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
        """Start a command that logs to `<name>.log`; raises `ChildError`."""
        log = self.logs / f"{name}.log"
        child = Child(command, name=name, log=log, environment=environment, directory=directory)
        self.started.append(child)
        return child

    def require_running(self) -> None:
        """Raise `ChildError` for the first child that has ended."""
        for child in self.started:
            child.require_running()

    def stop(self, grace: float = 10.0) -> None:
        """End all within about `grace` seconds: all are asked at once, and each is then waited for."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
