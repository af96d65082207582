"""The page of the packages of the repository: the first line of the docstring of each one."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.generators.markdown import code, joined, table

ROOT: Final = Path(__file__).parents[2]
HEAD: Final = """\
# Packages

The packages that ship, in the order of their layers: each imports only from those after it.
"""
OMITTED: Final = frozenset({"migrations", "management", "commands"})
"""Folders that Django names. `pipelines.commands` is listed."""


def page() -> str:
    return joined(HEAD, table(("package", "contents"), _rows()))


def _rows() -> Iterator[tuple[str, str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for top in settings["tool"]["importlinter"]["root_packages"]:
        for file in sorted((ROOT / top).rglob("__init__.py")):
            folder = file.parent.relative_to(ROOT)
            if not OMITTED & set(folder.parts[1:]) or folder == Path("pipelines/commands"):
                yield code(f"{folder}/"), _summary(file)


def _summary(file: Path) -> str:
    """Return the first line of the docstring. Raises `ValueError` if the package has none."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{file} has no docstring: say in one line what the package contains")
    return docstring.partition("\n")[0].replace("``", "`")
