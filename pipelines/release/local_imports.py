"""Finds the local modules that a pipeline imports and its artifact does not contain."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path

from pipelines.environment.installed_code import InstalledCode, canonical
from pipelines.errors import DefinitionError


def unpacked_modules(
    modules: Iterable[str], sources: Mapping[str, Path], loaded: Iterable[str]
) -> list[DefinitionError]:
    """Return an error MODULE_NOT_PACKED for each local module that is imported and not packed.

    Follows the import statements of ``modules`` through all packed files, also those in functions, and checks the
    modules in ``loaded``, which the import of the pipeline has loaded. ``sources`` are the packed files by the names of
    their entries. A module is local if it is neither packed, nor installed, nor part of the standard library.
    """
    return _Search(sources).errors(modules, loaded)


class _Search:
    def __init__(self, sources: Mapping[str, Path]) -> None:
        self._packed = {module: path for entry, path in sources.items() if (module := _module_of(entry))}
        self._files = {canonical(str(path)) for path in sources.values()}
        self._installed = InstalledCode()

    def errors(self, modules: Iterable[str], loaded: Iterable[str]) -> list[DefinitionError]:
        found: dict[str, DefinitionError] = {}
        for importer, name, file in (*self._followed(modules), *self._loaded(loaded)):
            if not self._is_available(file):
                found.setdefault(name, _error(importer, name, file))
        return [found[name] for name in sorted(found)]

    def _is_available(self, file: str) -> bool:
        path = canonical(file)
        return path in self._files or self._installed.contains(path)

    def _followed(self, modules: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """Yield importer, name and file of every module that the packed modules import."""
        rest, visited = list(modules), set()
        while rest:
            importer = rest.pop()
            if importer in visited or importer not in self._packed:
                continue
            visited.add(importer)
            for name in _imports(importer, self._packed[importer]):
                rest.append(name)
                for spec in _located(name):
                    if spec.has_location and spec.origin:
                        yield importer, spec.name, spec.origin

    def _loaded(self, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        for name in names:
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if spec is not None and spec.has_location and spec.origin:
                yield "the pipeline", name, spec.origin


def _module_of(entry: str) -> str:
    """Return the name of the module in an entry; an empty text if the entry is no module."""
    if not entry.endswith(".py"):
        return ""
    return entry.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yield the names of the modules that the statements of a file may import. Those for type checkers do not run."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _running(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module
            )
            yield from (base or "", *(f"{base}.{alias.name}" for alias in node.names))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes except for those in the body of ``if TYPE_CHECKING``."""
    rest = [tree]
    while rest:
        node = rest.pop()
        yield node
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            children = list(node.orelse)
        rest += children


def _located(name: str) -> Iterator[ModuleSpec]:
    """Yield the specs of a module and its parent packages, without importing any. Stops at the first unknown one."""
    parts, path = name.split("."), None
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]), path)
        if spec is None:
            return
        yield spec
        if spec.submodule_search_locations is None:
            return
        path = list(spec.submodule_search_locations)


def _spec(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, path)) is not None:
            return spec  # type: ignore[no-any-return]  # the finders of authors have no types
    return None


def _error(importer: str, name: str, file: str) -> DefinitionError:
    return DefinitionError(
        "MODULE_NOT_PACKED",
        f"{importer} imports {name} from {file}, which is neither packed nor installed; "
        f"add packages=({name.partition('.')[0]!r},) to the Pipeline",
    )
