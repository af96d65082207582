"""Runs uv, which reads its own lock files and makes virtual environments."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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
