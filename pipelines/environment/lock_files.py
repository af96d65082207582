"""Reads the lock files of projects: ``uv.lock``, ``pylock.toml`` (PEP 751) and requirements files."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.pylock import Package, Pylock, PylockSelectError, PylockValidationError, is_valid_pylock_path
from packaging.requirements import Requirement

from pipelines.environment.lock import OWN, invalid, locked
from pipelines.environment.requirements_file import lock_in_requirements, lock_line, require_portable
from pipelines.environment.uv import UvFailed, run_uv
from pipelines.errors import DefinitionError

_EXPORT: Final = ("--frozen", "--no-default-groups", "--no-emit-workspace", "--no-annotate", "--no-header")


def lock_from(path: Path) -> str:
    """Return the ``requirements.lock`` in a file: ``uv.lock``, ``pylock.toml``, or requirements with exact versions.

    Of ``uv.lock``, it contains the dependencies of the project, without its groups and extras. The project itself, the
    other members of its workspace and editable distributions are left out, because their code is packed. The same file
    gives the same text; of a ``pylock.toml``, for the same interpreter and platform.

    Raises ``DefinitionError``: INVALID_LOCK, and UV_NOT_FOUND if uv is needed to read ``uv.lock``.
    """
    text = _read(path)
    if path.name == "uv.lock":
        lock = lock_in_requirements(_exported(path), str(path))
    elif is_valid_pylock_path(path):
        lock = "".join(f"{line}\n" for line in sorted(_of_pylock(path, text)))
    else:
        lock = lock_in_requirements(text, str(path))
    _require_unique(lock, path)
    return lock


def missing_in(lock: str) -> str:
    """Return a warning about a lock without which no worker can start; empty if it names durable-pipelines."""
    if any(each.name == OWN for each in locked(lock)):
        return ""
    return f"the lock does not name {OWN}, so an environment with exactly these distributions cannot run a worker"


def _exported(path: Path) -> str:
    try:
        return run_uv("export", *_EXPORT, "--project", str(path.parent), "--python", sys.executable)
    except UvFailed as error:
        raise invalid(path, 0, str(error)) from error
    except DefinitionError as error:
        text = f"{path} can be read with uv only, and uv is not installed; install it, or give --lock another file"
        raise DefinitionError("UV_NOT_FOUND", text) from error


def _of_pylock(path: Path, text: str) -> Iterator[str]:
    try:
        selected = list(Pylock.from_dict(tomllib.loads(text)).select())
        for package, _ in selected:
            if package.directory is None:
                yield _line(package)
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockSelectError, ValueError) as error:
        raise invalid(path, 0, str(error)) from error


def _line(package: Package) -> str:
    """Return the line of a package, with the hashes of all its files, also of those for other machines."""
    files = [*(package.wheels or ()), *((package.sdist,) if package.sdist else ())]
    place = f"=={package.version}"
    if package.archive is not None:
        files = [package.archive]
        place = f" @ {package.archive.url or package.archive.path}"
    elif package.vcs is not None:
        place = f" @ {package.vcs.type}+{package.vcs.url}@{package.vcs.commit_id}"
    elif package.version is None:
        raise ValueError(f"{package.name} has no exact version")
    hashes = (f"sha256:{file.hashes['sha256']}" for file in files if "sha256" in file.hashes)
    return lock_line(require_portable(Requirement(f"{package.name}{place}")), hashes)


def _require_unique(lock: str, path: Path) -> None:
    names = [each.name for each in locked(lock)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(path, 0, f"{', '.join(twice)} is locked more than once for this interpreter")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(path, 0, f"it cannot be read: {error}") from error
