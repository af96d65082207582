"""The log lines and the labels of pages that the documentation quotes are those of the product."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = (
    *("coordinator", "interop", "alerts", "executions", "releases", "tenancy", "embedded", "foundation", "pipelines"),
    "wire",
)
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "runbooks").glob("*.md")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
LOG_LINE = re.compile(r"`([A-Z][a-z]+ [^`\n]+)`")
PLACEHOLDER = re.compile(r" ?\b(?:[A-Z]{2,}|N)\b.*|: CODE")
LABEL = re.compile(r"(?<![*\w])\*([A-Z][^*\n]+)\*(?!\*)")
EXAMPLES = {"Read lines"}
"""Names of steps, which are not log lines."""
SHORTEST = 8


@cache
def heads() -> frozenset[str]:
    """The beginnings of all texts in the code, up to their first placeholder."""
    files = [file for top in PRODUCT for file in (ROOT / top).rglob("*.py")]
    return frozenset(head for file in files for head in _heads(file.read_text(encoding="utf-8")))


def _heads(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            head = re.split(r"%[-.\w(]", node.value)[0]
            if len(head) >= SHORTEST:
                yield head


@cache
def pages() -> str:
    files = [file for top in (*PRODUCT, "templates") for file in (ROOT / top).rglob("*")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.suffix in {".py", ".html"})


@pytest.mark.parametrize("line", sorted(set(LOG_LINE.findall(TEXT)) - EXAMPLES))
def test_a_quoted_log_line_begins_as_the_products_does(line: str) -> None:
    start = PLACEHOLDER.sub("", line)
    assert any(head.startswith(start) or start.startswith(head) for head in heads()), start


@pytest.mark.parametrize("label", sorted(set(LABEL.findall(TEXT))))
def test_a_quoted_label_is_on_a_page(label: str) -> None:
    assert label in pages(), label
