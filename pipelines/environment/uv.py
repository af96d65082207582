"""Runs uv, which reads its own lock files and makes virtual environments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.environment.environment import Interpreter, Required
from pipelines.errors import DefinitionError


class UvFailed(Exception):
    """uv ended with an error. The text is the end of its message, in one line."""


def run_uv(*arguments: str) -> str:
    """Run uv and return its output. It is looked for on PATH, then next to the interpreter.

    Raises ``UvFailed``, and ``DefinitionError`` UV_NOT_FOUND.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise DefinitionError("UV_NOT_FOUND", "there is no uv on PATH; install it, for example with pip install uv")
    command = [uv, "--quiet", "--color=never", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise UvFailed(f"uv {arguments[0]} failed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout


def sync(required: Required, target: Path) -> None:
    """Create the virtual environment ``target``, or change an existing one, so that it has what ``required`` names.

    Distributions that are not required are removed. The interpreter is that of this process if it is the required one;
    otherwise uv finds or downloads it. Raises ``DefinitionError``:
    UV_NOT_FOUND, and ENVIRONMENT_NOT_MADE with the message of uv.
    """
    python = required.interpreter
    found = sys.executable if python == Interpreter.current() else f"{python.implementation}@{python.version}"
    try:
        run_uv("venv", "--allow-existing", "--python", found, str(target))
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
            lock.write(required.lock)
            lock.flush()
            run_uv("pip", "sync", "--allow-empty-requirements", "--python", str(target), lock.name)
    except UvFailed as error:
        raise DefinitionError("ENVIRONMENT_NOT_MADE", f"{target}: {error}") from error
