"""The transition workers of ``pipelines dev``: child processes that run built artifacts."""

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

_FAREWELL: Final = "worker: Warm shutdown (MainProcess)"
"""Celery prints it after SIGTERM."""


class Worker:
    """A running ``pipelines worker`` for one release. `show` receives each line that it prints.

    It has a session of its own, so that Ctrl-C reaches this process alone. It ends when this process ends or is killed.
    """

    def __init__(
        self,
        version: str,
        descriptor: Path,
        *,
        environment: Mapping[str, str],
        show: Callable[[str], None],
    ) -> None:
        self.version = version
        self._command = [*PIPELINES, "worker", f"--release={descriptor}", "--log-format=terminal", "--end-with-stdin"]
        self._environment = environment
        self._show = show
        self.starts = 0
        self.is_ending = False
        """True once `end` was called."""
        self.start()

    def start(self) -> None:
        """Start the process, again after its end: then as another worker, because the old one may still hold leases."""
        self.starts += 1
        self.worker_id = f"{self.version}-{socket.gethostname()}-{os.getpid()}-{self.starts}"
        self._process = subprocess.Popen(
            [*self._command, f"--worker-id={self.worker_id}"],
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
                self._show(line.rstrip("\n"))

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
