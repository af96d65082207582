"""The workers of ``pipelines dev``: child processes that run built artifacts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

PIPELINES: Final = (sys.executable, "-P", "-u", "-m", "pipelines")
"""The command of this installation. The author's folder cannot take the place of its modules."""

SHORT_SECONDS: Final = 10.0
_FAREWELL: Final = "worker: Warm shutdown (MainProcess)"
"""Celery prints it after SIGTERM."""


class Worker:
    """A process that hosts one release, as soon as it is named: it loads what workers need before that.

    `show` receives the release and a line for each line that it prints. The process has a separate session, so that
    Ctrl-C reaches this process alone. It ends when this process ends or is killed.
    """

    def __init__(self, environment: Mapping[str, str], show: Callable[[str, str], None]) -> None:
        self.version = ""
        """The hosted release; empty while the worker is a spare one."""
        self.short_lives = 0
        """How often in a row it has ended within SHORT_SECONDS."""
        self.is_ending = False
        """True once it is not to be started again."""
        self._environment = environment
        self._show = show
        self._descriptor = Path()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [*PIPELINES, "worker", "--release=-", "--log-format=terminal", "--end-with-stdin"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def host(self, version: str, descriptor: Path) -> None:
        """Host this release, whose artifact is next to the descriptor. Call this once."""
        self.version, self._descriptor = version, descriptor
        self._name_release()

    def _name_release(self) -> None:
        self._began = time.monotonic()
        stdin = self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, as `status` says
            if stdin is not None:
                stdin.write(f"{self._descriptor}\n")
                stdin.flush()

    def restart(self) -> None:
        """Host the release in another process. It is another worker, because the ended one may still hold leases."""
        self.kill()
        self.short_lives = self.short_lives + 1 if time.monotonic() - self._began < SHORT_SECONDS else 0
        self._start()
        self._name_release()

    @property
    def worker_id(self) -> str:
        """The id that the process chooses by default."""
        return f"{socket.gethostname()}-{self._process.pid}"

    @property
    def status(self) -> int | None:
        """The exit status, or None while the worker runs."""
        return self._process.poll()

    def end(self) -> None:
        """Ask the worker to finish its running transitions, to accept no more, and to end."""
        self.is_ending = True
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Kill the worker, and the processes of its steps."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if not line.isspace() and line.strip() != _FAREWELL:
                self._show(self.version, line.rstrip("\n"))

    def drain(self) -> None:
        """Return when all lines of an ended worker were shown, or after a second: its child processes may hold on."""
        self._reader.join(1)


def end_all(workers: Iterable[Worker], seconds: float) -> None:
    """End all workers. Those that run after `seconds` are killed, and all at once if Ctrl-C interrupts the wait."""
    running = list(workers)
    try:
        for worker in running:
            worker.end()
        deadline = time.monotonic() + seconds
        while any(worker.status is None for worker in running) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for worker in running:
            worker.kill()
            worker.drain()
