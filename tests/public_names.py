"""Checks that tests use only public names of the product and replace no code: `python -m tests.public_names`.

Ruff finds private attributes (SLF001). This finds imports of private names, and code of the product that a test
replaces with `monkeypatch`, an assignment or a mock. Tests may set public constants, such as limits or times.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
OURS = {path.name for path in TESTS.parent.iterdir() if (path / "__init__.py").exists()} | {"tests"}
REPLACING = {"setattr", "delattr"}


def is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in OURS


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


class Checker(ast.NodeVisitor):
    """Collects the violations of one module as pairs (line, complaint)."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._imported: set[str] = set()

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            if is_ours(each.name):
                self._imported.add((each.asname or each.name).partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "unittest" and any(each.name == "mock" for each in node.names):
            self._complain(node, "uses mocks")
        if is_ours(node.module):
            self._imported |= {each.asname or each.name for each in node.names}
            for each in node.names:
                if is_private(each.name):
                    self._complain(node, f"imports the private name {each.name}")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in REPLACING and node.args:
            target, *rest = node.args
            name = rest[0].value if rest and isinstance(rest[0], ast.Constant) else ""
            if isinstance(target, ast.Constant):
                owner, _, name = str(target.value).rpartition(".")
                self._replaces(node, is_ours(owner), name)
            else:
                self._replaces(node, self._is_imported(target), str(name))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                self._replaces(node, self._is_imported(target.value), target.attr)
        self.generic_visit(node)

    def _is_imported(self, target: ast.expr) -> bool:
        while isinstance(target, ast.Attribute):
            target = target.value
        return isinstance(target, ast.Name) and target.id in self._imported

    def _replaces(self, node: ast.AST, ours: bool, name: str) -> None:
        if ours and (is_private(name) or not name.isupper()):
            self._complain(node, f"replaces {name!r} of ours")

    def _complain(self, node: ast.AST, complaint: str) -> None:
        self.found.append((getattr(node, "lineno", 0), complaint))


def complaints(source: str) -> list[tuple[int, str]]:
    checker = Checker()
    checker.visit(ast.parse(source))
    return checker.found


def check() -> Iterator[str]:
    for path in sorted(TESTS.rglob("*.py")):
        for line, complaint in complaints(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(TESTS.parent)}:{line}: {complaint}"


if __name__ == "__main__":
    sys.exit("\n".join(check()) or 0)
