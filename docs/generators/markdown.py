"""Parts of pages in Markdown."""

from collections.abc import Iterable, Sequence


def joined(*parts: str) -> str:
    """Return a page of these parts, with an empty line between them."""
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (f"| {' | '.join(map(_cell, row))} |" for row in (heads, *rows))
    return "\n".join((next(lines), f"|{'---|' * len(heads)}", *lines))


def code(text: str) -> str:
    return f"`{text}`"


def codes(texts: Iterable[str]) -> str:
    return ", ".join(map(code, texts))


def _cell(text: str) -> str:
    """Return a cell of a table, in which a line ends and `|` begins the next cell."""
    return " ".join(text.split()).replace("|", r"\|")
