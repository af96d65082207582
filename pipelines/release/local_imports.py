"""Finds the local modules that the code of a pipeline imports, without importing any."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from pipelines.environment.installed_code import InstalledCode, canonical
from pipelines.release.import_statements import imported_names


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A module that is imported and must be packed. ``importer`` is the first module that imports it.

    ``is_installed`` is true for a module of an installed distribution, of whose package the artifact has a part.
    """

    name: str
    file: str
    importer: str
    is_installed: bool


def unpacked_modules(start: Iterable[str], sources: Mapping[str, Path], loaded: Iterable[str]) -> list[Unpacked]:
    """Return the modules that are imported and that a worker would not find.

    These are local modules that are not packed, and installed modules whose package is packed only in part.

    Follows the import statements of the modules in ``start`` through all local files, packed or not, also those in
    functions. ``loaded`` are further modules that the import of the pipeline has loaded in any way.
    ``sources`` are the packed files by the names of their entries.

    Raises ``DefinitionError``: MODULE_FAILED for a local file that Python cannot parse, SOURCE_UNREADABLE.
    """
    return _Search(sources).unpacked(start, loaded)


def module_of(entry: str) -> str:
    """Return the name of the module in an entry of an artifact; an empty text if the entry is no module."""
    if not entry.endswith(".py"):
        return ""
    return entry.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Search:
    def __init__(self, sources: Mapping[str, Path]) -> None:
        self._packed = {module: path for entry, path in sources.items() if (module := module_of(entry))}
        self._files = {canonical(str(path)) for path in sources.values()}
        self._installed = InstalledCode()
        self._visited: set[str] = set()
        self._found: dict[str, Unpacked] = {}

    def unpacked(self, start: Iterable[str], loaded: Iterable[str]) -> list[Unpacked]:
        """Follow the statements first, because they tell which module is the importer."""
        self._follow("the pipeline", [each for module in start for each in self._located(module)])
        self._follow("the pipeline", list(_loaded_files(loaded)))
        return [self._found[name] for name in sorted(self._found)]

    def _follow(self, importer: str, imported: list[tuple[str, str]]) -> None:
        rest = [(importer, *each) for each in imported]
        while rest:
            importer, name, file = rest.pop()
            if name in self._visited:
                continue
            self._visited.add(name)
            path = canonical(file)
            is_available = self._is_available(name, path)
            if not is_available:
                self._found[name] = Unpacked(name, file, importer, is_installed=self._installed.contains(path))
            if file.endswith(".py") and (path in self._files or not is_available):
                names = imported_names(name, Path(file))
                rest += [(name, *each) for one in reversed(names) for each in self._located(one)]

    def _is_available(self, name: str, path: str) -> bool:
        """Return True if a worker finds the module. A package comes from the artifact or from elsewhere, never both."""
        parent = name.rpartition(".")[0]
        return path in self._files or (parent not in self._packed and self._installed.contains(path))

    def _located(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield name and file of a module and of its parent packages. Packed files come first, as on a worker."""
        parts = name.split(".")
        folders: list[str] | None = None
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            spec = None if parent in self._packed else _spec(parent, folders)
            file = str(self._packed[parent]) if parent in self._packed else _file(spec)
            if file:
                yield parent, file
            folders = _folders(spec, file, folders, parts[end - 1])


def _loaded_files(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(names):
        if file := _file(getattr(sys.modules.get(name), "__spec__", None)):
            yield name, file


def _file(spec: ModuleSpec | None) -> str:
    return spec.origin if spec is not None and spec.has_location and spec.origin else ""


def _folders(spec: ModuleSpec | None, file: str, parents: list[str] | None, name: str) -> list[str]:
    """Return the folders in which the modules of a package are found; none for a module that is no package."""
    if file:
        return [str(Path(file).parent)] if Path(file).name.startswith("__init__.") else []
    if spec is None or spec.submodule_search_locations is None:
        return []
    # A namespace package. Its own search locations cannot be read before its parent package is imported.
    folders = (Path(folder, name) for folder in (sys.path if parents is None else parents))
    return [str(folder) for folder in folders if folder.is_dir()]


def _spec(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, path)) is not None:
            return spec  # type: ignore[no-any-return]  # the finders of authors have no types
    return None
