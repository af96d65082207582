"""Prints tables and JSON. Untrusted text is made safe for terminals."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


def columns_of(text: str) -> list[tuple[str, str]]:
    """Return the title and the path of each column of a text such as `RELEASE pin.releaseVersion, LAST SEEN at`."""
    return [(title, path) for title, _, path in (each.rpartition(" ") for each in text.split(", "))]


class Output:
    """Prints results to stdout, and everything else to stderr.

    JSON contains ASCII characters only. In tables, untrusted text is escaped. On a terminal, tables are as wide as it,
    and long texts continue on the next line. Elsewhere, each row is one line.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.is_terminal = sys.stdout.isatty()

    def items(self, columns: str, items: Iterable[dict[str, Any]]) -> None:
        """Print a list: as a table, or as a JSON array."""
        if self.form is Form.JSON:
            self.value(list(items))
            return
        every = columns_of(columns)
        titles = [title for title, _ in every]
        rows = [[shown(member(item, path)) for _, path in every] for item in items]
        self._table(titles, rows) if rows else self.note("There are none.")

    def document(self, document: Any) -> None:
        """Print one object: a line for each member, or as JSON."""
        if self.form is Form.JSON:
            self.value(document)
        else:
            self._table([], [[clean(name), shown(value)] for name, value in flat(document)])

    def line(self, item: dict[str, Any], columns: str) -> None:
        """Print one item of an endless list: as a line, or as one line of JSON."""
        if self.form is Form.JSON:
            self._print(json.dumps(item))
        else:
            self._print("  ".join(shown(member(item, path)) for _, path in columns_of(columns)))

    def value(self, value: Any) -> None:
        """Print a JSON value."""
        self._print(json.dumps(value, indent=2))

    def text(self, text: str) -> None:
        """Print lines to stdout, unless the output is JSON."""
        if self.form is Form.TABLE:
            self._print(clean(text, lines=True))

    def note(self, text: str) -> None:
        """Print a note to stderr."""
        self._print(clean(text, lines=True), sys.stderr)

    def clear(self) -> None:
        """Clear the screen, if it is one."""
        if self.is_terminal:
            sys.stdout.write("\x1b[2J\x1b[H")

    def _table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if self.is_terminal:
            self._rich_table(titles, rows)
            return
        lines = [list(titles), *rows] if titles else list(rows)
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            self._print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def _rich_table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=bool(titles), pad_edge=False)
        for title in titles or ["", ""]:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(markup=False, highlight=False, emoji=False).print(table)

    def _print(self, text: str, file: TextIO | None = None) -> None:
        print(text, file=file or sys.stdout, flush=True)


def clean(text: object, *, lines: bool = False) -> str:
    r"""Return `text` with every character escaped that a terminal may interpret or hide, as in `\x1b`.

    These are control characters, marks that change the direction of text, and lone surrogates. With `lines`, line
    feeds and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(each if each.isprintable() or each in kept else _escaped(each) for each in str(text))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(value: Any) -> str:
    """Return a value of a JSON document as one line of clean text. Moments lose their fractions."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value)
    return clean(_MOMENT.sub(r"\1 \2Z", value) if isinstance(value, str) else value)


def member(document: Any, path: str) -> Any:
    """Return the member of nested objects at a path such as `pin.releaseVersion`; None if it is missing."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def flat(document: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the names and values of a document's members. Nested names are joined with dots."""
    if isinstance(document, dict) and document:
        return [
            pair for name, value in document.items() for pair in flat(value, f"{prefix}.{name}" if prefix else name)
        ]
    if isinstance(document, list) and any(isinstance(each, dict | list) for each in document):
        return [pair for number, each in enumerate(document) for pair in flat(each, f"{prefix}[{number}]")]
    return [(prefix, document)]


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a text with a spinner on stderr. Yields a function that replaces the text. Elsewhere, show nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, markup=False, highlight=False, emoji=False).status(Text(text)) as status:
        yield lambda said: status.update(Text(clean(said)))
