"""Checks that tests use only public names of the product and replace no code: `python -m tests.public_names`.

Ruff finds private attributes (SLF001). This finds imports of private names, and code of the product that a test
replaces with `monkeypatch`, an assignment or a mock. Tests may set public constants, such as limits or times.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).parent
OURS = {path.name for path in TESTS.parent.iterdir() if (path / "__init__.py").exists()} | {"tests"}


def is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in OURS


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def complaints(source: str) -> list[tuple[int, str]]:
    """Return the violations of one module as pairs (line, complaint)."""
    nodes = list(ast.walk(ast.parse(source)))
    violations = list[tuple[int, str]]()
    imported = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names if is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if node.module == "unittest" and "mock" in names:
                violations.append((node.lineno, "uses mocks"))
            if is_ours(node.module):
                imported |= {alias.asname or alias.name for alias in node.names}
                violations += [(node.lineno, f"imports the private name {name}") for name in names if is_private(name)]

    def is_imported(target: ast.expr) -> bool:
        while isinstance(target, ast.Attribute):
            target = target.value
        return isinstance(target, ast.Name) and target.id in imported

    for node in nodes:
        for name in _replaced(node, is_imported):
            if is_private(name) or not name.isupper():
                violations.append((getattr(node, "lineno", 0), f"replaces {name!r} of ours"))
    return violations


def _replaced(node: ast.AST, is_imported: Callable[[ast.expr], bool]) -> Iterator[str]:
    """Yield the names in modules of ours that a call or an assignment replaces."""
    match node:
        case ast.Call(func=ast.Attribute(attr="setattr" | "delattr"), args=[ast.Constant(value=str(path)), *_]):
            if is_ours(path):
                yield path.rpartition(".")[2]
        case ast.Call(
            func=ast.Attribute(attr="setattr" | "delattr"), args=[target, ast.Constant(value=str(name)), *_]
        ) if is_imported(target):
            yield name
        case ast.Assign(targets=targets):
            for assigned in targets:
                if isinstance(assigned, ast.Attribute) and is_imported(assigned.value):
                    yield assigned.attr


def check() -> Iterator[str]:
    for path in sorted(TESTS.rglob("*.py")):
        for line, complaint in complaints(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(TESTS.parent)}:{line}: {complaint}"


if __name__ == "__main__":
    sys.exit("\n".join(check()) or 0)
