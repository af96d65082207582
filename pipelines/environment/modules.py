"""Which modules a process imports: code that is installed for it, and modules of an artifact that others hide."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any, Final

import coordinator_client
import wire
from pipelines.environment.distributions import hexadecimal, recorded_modules
from pipelines.errors import DefinitionError

_OWN_FOLDERS: Final = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (str(Path(__file__).parents[1]), *coordinator_client.__path__, *wire.__path__)
)
"""The code of the worker itself, which may be installed from a folder for development."""
_UNRECORDED: Final = frozenset({"_virtualenv.py"})
"""Files that virtualenv and uv put into site-packages without a record."""
_SITES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class InstalledCode:
    """The files of the standard library, of installed distributions, and of the worker's own packages."""

    def __init__(self) -> None:
        self._library = tuple({os.path.realpath(sysconfig.get_path(n)) + os.sep for n in ("stdlib", "platstdlib")})

    def contains(self, path: str) -> bool:
        """Return True if the file at this canonical path is installed. Its present content is not checked."""
        return self.is_trusted(path) or path in self._recorded

    def is_trusted(self, path: str) -> bool:
        """Return True for files that need no recorded digest: of the standard library, the worker and virtualenv."""
        if any(site in path for site in _SITES):
            return path.startswith(_OWN_FOLDERS) or os.path.basename(path) in _UNRECORDED  # noqa: PTH119 - of each import
        return path.startswith((*_OWN_FOLDERS, *self._library))

    def recorded_digest(self, path: str) -> str | None:
        """Return the SHA-256 digest that a distribution records for this file, in hexadecimal; None if none does."""
        digest = self._recorded.get(path)
        return None if digest is None else hexadecimal(digest)

    @cached_property
    def _recorded(self) -> dict[str, str]:
        return recorded_modules()


def canonical(file: str) -> str:
    """Return the path of a file with the links of its folder resolved, but not the link that the file itself may be."""
    folder, name = os.path.split(file)
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - of each import


_WORKER: Final = frozenset({"coordinator_client", "pipelines", "wire"})


def top_level_modules(entries: Iterable[str]) -> set[str]:
    """Return the names of the top-level modules and packages among the entries of an artifact.

    A folder is a package if it contains code at any depth.
    """
    code = tuple(all_suffixes())
    return {entry.partition("/")[0].partition(".")[0] for entry in entries if entry.endswith(code)}


def shadowed_modules(names: Iterable[str], imported: Mapping[str, Any] | None = None) -> list[DefinitionError]:
    """Return an error MODULE_SHADOWED for each top-level module of an artifact that a worker would not import.

    These are the modules that have the name of a module in the standard library, of a package of the worker, or of a
    module in ``imported``: what the process has already imported from elsewhere, such as ``sys.modules``.
    """
    found = {name: _owner(name, imported or {}) for name in sorted(names)}
    return [
        DefinitionError(
            "MODULE_SHADOWED",
            f"the artifact contains the module {name}, but in a worker this name means {owner}; rename the module",
        )
        for name, owner in found.items()
        if owner
    ]


def _owner(name: str, imported: Mapping[str, Any]) -> str:
    if name in sys.stdlib_module_names:
        return "a module of the standard library"
    if name in _WORKER:
        return "a package of the worker"
    if name in imported:
        return f"the imported module in {getattr(imported[name], '__file__', None) or 'several folders'}"
    return ""
