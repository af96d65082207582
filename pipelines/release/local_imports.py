"""Checks that an artifact contains all local code that its pipeline imports, without importing any."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from typing import Final

from pipelines.authoring.definition import Pipeline
from pipelines.authoring.plan import plan
from pipelines.environment import InstalledCode, canonical, shadowed_modules, top_level_modules
from pipelines.errors import DefinitionError, raise_all

_TYPE_CHECKING: Final = "TYPE_CHECKING"
_STATEMENTS: Final = (ast.stmt, ast.excepthandler, ast.match_case)


def imported_names(module: str, path: Path) -> list[str]:
    """Return the names that the import statements of a file may import: modules, packages and names in them.

    Statements in functions count, those that only type checkers see do not. ``module`` is the name of the file's
    module. Raises ``DefinitionError``: SOURCE_UNREADABLE, and MODULE_FAILED for a file that Python cannot parse.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return list(dict.fromkeys(name for node in _executed(_parsed(module, path)) for name in _names(node, package)))


def _parsed(module: str, path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python shows those of a file when it compiles it
            return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise DefinitionError("SOURCE_UNREADABLE", f"cannot read {path}: {error.strerror}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        text = f"module {module} cannot be imported: {type(error).__name__}: {error}"
        raise DefinitionError("MODULE_FAILED", text) from error


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements in the order of the file, except for those that only type checkers see."""
    rest: list[ast.AST] = [tree]
    while rest:
        node = rest.pop()
        yield node
        rest += reversed([child for child in _children(node) if isinstance(child, _STATEMENTS)])


def _children(node: ast.AST) -> Iterable[ast.AST]:
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return node.orelse
    if isinstance(node, ast.If) and isinstance(node.test, ast.UnaryOp) and _is_type_checking(node.test.operand):
        return node.body
    return ast.iter_child_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    return _TYPE_CHECKING in (getattr(test, "id", None), getattr(test, "attr", None))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        try:
            base = resolve_name("." * node.level + (node.module or ""), package)
        except ImportError:
            return  # leaves its top-level package, so it fails if it ever runs
        yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A module that is imported and must be packed. ``importer`` is the first module that imports it.

    ``is_installed`` is true for a module of an installed distribution, of whose package the artifact has a part.
    """

    name: str
    file: str
    importer: str
    is_installed: bool


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
        """Return the modules that are imported and that a worker would not find.

        These are local modules that are not packed, and installed modules whose package is packed only in part.

        Follows the import statements of the modules in ``start`` through all local files, packed or not, also those in
        functions. ``loaded`` are further modules that the import of the pipeline has loaded in any way. The statements
        are first, because they tell which module is the importer.

        Raises ``DefinitionError``: MODULE_FAILED for a local file that Python cannot parse, SOURCE_UNREADABLE.
        """
        self._follow("the pipeline", [located for module in start for located in self._located(module)])
        self._follow("the pipeline", list(_loaded_files(loaded)))
        return [self._found[name] for name in sorted(self._found)]

    def _follow(self, importer: str, imported: list[tuple[str, str]]) -> None:
        rest = [(importer, *module) for module in imported]
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
                rest += [(name, *located) for imported in reversed(names) for located in self._located(imported)]

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


def require_complete(pipeline: Pipeline, sources: Mapping[str, Path], loaded: Collection[str]) -> None:
    """Raise ``DefinitionError`` for local code that is not packed, and for packed code that another module hides.

    ``sources`` are the packed files by the names of their entries. ``loaded`` are the modules that the import of the
    pipeline has loaded. Each error about code that is not packed names the ``packages`` that correct all of them.

    Errors: STEP_NOT_PACKED, MODULE_NOT_PACKED, MODULE_SHADOWED, MODULE_FAILED, SOURCE_UNREADABLE.
    """
    packed = {module_of(entry) for entry in sources}
    modules = {
        called.function.__module__: step.name
        for step in plan(pipeline).steps
        for called in step.called
        if called.function
    }
    steps = {module: name for module, name in modules.items() if module not in packed}
    unpacked = _Search(sources).unpacked([pipeline.module, *modules], loaded)
    local = {module.name for module in unpacked}
    # A step in an installed package is packed with the whole package, because a package is in one place only.
    missing = local | {module.partition(".")[0] for module in steps if module not in local}
    correction = f"set packages={_packages(pipeline.packages, missing)!r} of the Pipeline"
    raise_all(
        [
            *shadowed_modules(top_level_modules(sources)),
            *(
                DefinitionError(
                    "STEP_NOT_PACKED",
                    f'step "{name}" is in module {module}, outside of the package of {pipeline.module}; {correction}',
                )
                for module, name in steps.items()
            ),
            *(_not_packed(module, correction) for module in unpacked if module.name not in steps),
        ]
    )


def _packages(present: Iterable[str], missing: Collection[str]) -> tuple[str, ...]:
    """Return the packages to pack. A missing module needs no mention if one of its parent packages is missing too."""
    top = [name for name in sorted(missing) if not any(name.startswith(f"{parent}.") for parent in missing)]
    return tuple(dict.fromkeys((*present, *top)))


def _not_packed(module: Unpacked, correction: str) -> DefinitionError:
    reason = "not packed, but a part of its package is" if module.is_installed else "neither packed nor installed"
    text = f"{module.importer} imports {module.name} from {module.file}, which is {reason}; {correction}"
    return DefinitionError("MODULE_NOT_PACKED", text)
