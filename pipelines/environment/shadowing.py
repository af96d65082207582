"""Finds modules of an artifact whose names Python would resolve to other modules."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import all_suffixes
from typing import Any, Final

from pipelines.errors import DefinitionError

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
