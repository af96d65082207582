"""Makes a virtual environment that matches the environment which an artifact requires, with uv."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pipelines.environment.environment import Required
from pipelines.errors import DefinitionError


def sync(required: Required, target: Path) -> None:
    """Create the virtual environment ``target``, or change an existing one, so that it has what ``required`` names.

    Distributions that are not required are removed. uv finds or downloads the interpreter. Raises ``DefinitionError``:
    UV_NOT_FOUND, and ENVIRONMENT_NOT_MADE with the message of uv.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise DefinitionError("UV_NOT_FOUND", "install uv, which makes virtual environments")
    interpreter = required.interpreter
    _run(uv, "venv", "--allow-existing", "--python", f"{interpreter.implementation}@{interpreter.version}", str(target))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
        lock.write(required.lock)
        lock.flush()
        _run(uv, "pip", "sync", "--python", str(target), lock.name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DefinitionError("ENVIRONMENT_NOT_MADE", f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
