"""A command of this installation that runs as a child of this process, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipelines.errors import DefinitionError

_STOP_SECONDS: Final = 20.0
_SHOWN_LINES: Final = 20
_PROGRAM: Final = """
import importlib, sys
from pipelines.commands.worker import end_with_stdin

end_with_stdin()
del sys.argv[0]
sys.exit(importlib.import_module(sys.argv[0]).main())
"""
"""Runs a command in a child process, and ends it when the other end of its stdin is closed."""


class Child:
    """A command of this installation, as a process that ends with this one, even if this one is killed."""

    def __init__(self, name: str, *command: str | Path, environment: Mapping[str, str]) -> None:
        """Start it. The first word of the command is the module with its ``main``. TMPDIR gets its log."""
        self._name = name
        self._log = Path(environment["TMPDIR"], f"{name}.log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=environment["TMPDIR"],
                env={**_inherited(), **environment},
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def require(self, is_early: bool, code: str) -> None:
        """Raise ``DefinitionError`` with the end of its log if it has ended, or if it is late."""
        status = self._process.poll()
        if status is not None or not is_early:
            why = "does not start" if status is None else f"ended with status {status}"
            tail = "\n".join(self.output().splitlines()[-_SHOWN_LINES:])
            raise DefinitionError(code, f"the {self._name} {why}:\n{tail}")

    def end(self) -> None:
        """Let it end, and kill it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it, and the processes in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _inherited() -> dict[str, str]:
    """Return the environment without the Django project of the test: Celery would load it into the worker."""
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
