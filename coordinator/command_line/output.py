"""Prints tables and JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TextIO

from coordinator.command_line.text import clean, flat, member, shown


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


Columns = Sequence[tuple[str, str]]
"""The title and the path of each column, such as `("RELEASE", "pin.releaseVersion")`."""


class Output:
    """Prints results to stdout, and everything else to stderr.

    JSON contains ASCII characters only. In tables, untrusted text is escaped. On a terminal, tables are as wide as it,
    and long texts continue on the next line. Elsewhere, each row is one line.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.is_terminal = sys.stdout.isatty()

    def items(self, columns: Columns, items: Iterable[dict[str, Any]]) -> None:
        """Print a list: as a table, or as a JSON array."""
        if self.form is Form.JSON:
            self.value(list(items))
            return
        titles = [title for title, _ in columns]
        rows = [[shown(member(item, path)) for _, path in columns] for item in items]
        self._table(titles, rows) if rows else self.note("There are none.")

    def document(self, document: Any) -> None:
        """Print one object: a line for each member, or as JSON."""
        if self.form is Form.JSON:
            self.value(document)
        else:
            self._table([], [[clean(name), shown(value)] for name, value in flat(document)])

    def line(self, item: dict[str, Any], columns: Columns) -> None:
        """Print one item of an endless list: as a line, or as one line of JSON."""
        if self.form is Form.JSON:
            self._print(json.dumps(item))
        else:
            self._print("  ".join(shown(member(item, path)) for _, path in columns))

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
