"""The log lines and the labels of pages that the documentation quotes are those of the product."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.docs.pages import DOCUMENTS, ROOT, text_of

PRODUCT = (
    *("coordinator", "interop", "alerts", "executions", "releases", "tenancy", "embedded", "foundation", "pipelines"),
    "wire",
)
TEXT = "\n".join(text_of(name) for name in DOCUMENTS if re.fullmatch(r"README.md|docs/(runbooks/)?[^/]+", name))
LOG_LINE = re.compile(r"`([A-Z][a-z]+ [^`\n]+)`")
PLACEHOLDER = re.compile(r" ?\b(?:[A-Z]{2,}|N)\b.*|: CODE")
LABEL = re.compile(r"(?<![*\w])\*([A-Z][^*\n]+)\*(?!\*)")
EXAMPLES = {"Read lines"}
"""Names of steps, which are not log lines."""
SHORTEST = 8


@cache
def sources() -> list[str]:
    files = [str(file.relative_to(ROOT)) for top in PRODUCT for file in (ROOT / top).rglob("*.py")]
    return [text_of(name) for name in files]


def heads(source: str) -> Iterator[str]:
    """Yield the beginnings of all texts in the code, up to their first placeholder."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            head = re.split(r"%[-.\w(]", node.value)[0]
            if len(head) >= SHORTEST:
                yield head


def test_quoted_log_lines_begin_as_those_of_the_product() -> None:
    starts = {PLACEHOLDER.sub("", line) for line in set(LOG_LINE.findall(TEXT)) - EXAMPLES}
    assert starts
    openings = {start[:SHORTEST] for start in starts}
    quoted = [source for source in sources() if any(opening in source for opening in openings)]
    known = {head for source in quoted for head in heads(source)}
    missing = {start for start in starts if not any(head.startswith(start) or start.startswith(head) for head in known)}
    assert missing == set()


def test_quoted_labels_are_on_pages() -> None:
    labels = set(LABEL.findall(TEXT))
    assert labels
    templates = [file for top in (*PRODUCT, "templates") for file in (ROOT / top).rglob("*.html")]
    pages = "\n".join([*sources(), *(file.read_text(encoding="utf-8") for file in templates)])
    assert {label for label in labels if label not in pages} == set()
