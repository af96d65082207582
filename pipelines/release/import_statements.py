"""Reads the import statements of a Python file."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Final

from pipelines.errors import DefinitionError

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
