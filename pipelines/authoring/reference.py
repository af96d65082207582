"""Finds the pipeline that an author names at the command line: a module, or a file with its path."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from pipelines.authoring.compiler import import_module, load
from pipelines.authoring.definition import Pipeline
from pipelines.errors import DefinitionError

FORM: Final = "orders.py, orders.py:NAME, MODULE or MODULE:NAME"
"""How an author names a pipeline."""


def find(reference: str) -> Pipeline:
    """Import the module that ``reference`` names, and return its pipeline. ``NAME`` may be missing if it has only one.

    A path that ends with ``.py`` names a file. The first folder above it without ``__init__.py`` is put in front of
    ``sys.path``, so that ``src/shop/orders.py`` is the module ``shop.orders`` if ``src/shop`` is a package, and
    ``orders`` otherwise.

    Raises ``DefinitionError``: those of ``load``, and MODULE_SHADOWED if another module has the name of the file.
    """
    place, colon, name = reference.partition(":")
    file = Path(place) if place.endswith(".py") else None
    module = place if file is None else _module_of(file)
    if not all(part.isidentifier() for part in [*module.split("."), name if colon else "_"]):
        raise DefinitionError("INVALID_REFERENCE", f"{reference!r} names no pipeline; write {FORM}")
    imported = import_module(module)
    if file is not None:
        _require_file(imported, file)
    return load(f"{module}:{name or _only_pipeline(imported, reference)}")


def _module_of(file: Path) -> str:
    """Return the name of the module in a file, and put the folder of its outermost package in front of the path."""
    if not file.is_file():
        raise DefinitionError("MODULE_NOT_FOUND", f"there is no file {file} in {Path.cwd()}")
    full = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links, as imports do
    parts, folder = [full.stem], full.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if not all(part.isidentifier() for part in parts):
        raise DefinitionError(
            "INVALID_REFERENCE",
            f"{file} cannot be imported as {'.'.join(parts)}; name files and packages with letters, digits and '_'",
        )
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    return ".".join(parts)


def _only_pipeline(module: ModuleType, reference: str) -> str:
    """Return the name of the only pipeline of a module. One that it imports counts only if it defines none."""
    named = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    own_pipelines = {name: pipeline for name, pipeline in named.items() if pipeline.module == module.__name__} or named
    names = sorted({id(pipeline): name for name, pipeline in own_pipelines.items()}.values())
    if len(names) == 1:
        return names[0]
    chosen = (
        f"defines the pipelines {', '.join(names)}; name one: {reference}:{names[0]}"
        if names
        else f"has no pipeline; name another module, or write into it: pipeline = Pipeline({module.__name__!r})"
    )
    raise DefinitionError("NAME_NOT_FOUND", f"module {module.__name__} {chosen}")


def _require_file(module: ModuleType, file: Path) -> None:
    imported = module.__file__
    if imported is None or not file.samefile(imported):
        raise DefinitionError(
            "MODULE_SHADOWED",
            f"{file} cannot be imported as {module.__name__}, because {imported or 'a part of Python'} has this name; "
            "rename the file",
        )
