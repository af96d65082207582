"""Runs `coordinator` as a process: with only its own configuration, and none of the coordinator's settings."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded.product import BIN, PROJECT

SECONDS = 60


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status in {0, 1}, self
        return json.loads(self.out)


@dataclass
class CommandLine:
    """A person at a command line, whose home is `home`. `environment` is added to the environment of the commands."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def _environment(self) -> dict[str, str]:
        defaults = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(PROJECT), "TERM": "xterm"}
        return {**defaults, **self.environment}

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        done = subprocess.run(
            [BIN / "coordinator", *arguments],
            env=self._environment(),
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        return self(*arguments, "--output=json").json

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BIN / "coordinator", *arguments],
            env=self._environment(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background makes its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def on_a_terminal(self, *arguments: str, typed: str = "", columns: int = 120) -> Done:
        """Run a command whose stdin, stdout and stderr are a terminal, type, and return all output as `out`."""
        terminal, end = pty.openpty()
        os.write(terminal, typed.encode())
        process = subprocess.Popen(
            [BIN / "coordinator", *arguments],
            env={**self._environment(), "COLUMNS": str(columns)},
            cwd=self.home,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        output = _all_of(terminal)
        return Done(process.wait(SECONDS), output, "")


def _all_of(terminal: int) -> str:
    """Return what a terminal shows until its last program ends."""
    output = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            os.close(terminal)
            return output.decode(errors="replace").replace("\r\n", "\n")
        output += piece


def imported(*arguments: str) -> set[str]:
    """Return the top-level packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", BIN / "coordinator", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return {name.split(".")[0] for name in re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE)}
