"""Makes a virtual environment that matches the environment which an artifact requires, with uv."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pipelines.environment.environment import Required
from pipelines.environment.interpreter import Interpreter
from pipelines.environment.uv import UvFailed, run_uv
from pipelines.errors import DefinitionError


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
