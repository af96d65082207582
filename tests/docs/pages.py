"""The documents of the repository. Each is read once."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "distributions/*/*.md")
    for path in ROOT.glob(pattern)
)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def is_function(node: str) -> bool:
    """Return whether `node`, written as FILE::NAME, names a function at the top of a file."""
    file, _, name = node.partition("::")
    body = ast.parse(text_of(file)).body if (ROOT / file).is_file() else []
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in body)
