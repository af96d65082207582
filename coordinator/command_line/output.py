"""The output of a command: tables and documents for people, or JSON. Untrusted text is made safe for terminals."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from shutil import get_terminal_size
from typing import Any, Final, TextIO

from coordinator.command_line.documents import Block, blocks
from coordinator.command_line.texts import clean, columns_of, member, shown

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LEAST: Final = 8


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


class Output:
    """Prints results to stdout, and everything else to stderr.

    JSON contains ASCII characters only. In tables, untrusted text is escaped. On a terminal, tables are as wide as it,
    long texts continue on the next line, and ids stay whole. Elsewhere, and on terminals that are too narrow, each row
    is one line.
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

    def document(self, document: Mapping[str, Any]) -> None:
        """Print one object: its facts, sections and tables, or JSON."""
        if self.form is Form.JSON:
            self.value(document)
            return
        for number, block in enumerate(blocks(document, datetime.now(UTC))):
            self._block(block, is_first=not number)

    def _block(self, block: Block, *, is_first: bool) -> None:
        if not is_first and not block.depth:
            self._print("")
        if block.heading:
            self._print(f"{'  ' * block.depth}{block.heading}")
        if block.rows:
            self._table(block.titles, block.rows, block.depth + bool(block.heading))

    def line(self, item: dict[str, Any], columns: str) -> None:
        """Print one item of an endless list: as a line, or as one line of JSON."""
        if self.form is Form.JSON:
            self._print(json.dumps(item))
        else:
            self._print("  ".join(shown(member(item, path)) for _, path in columns_of(columns)))

    def value(self, value: Any) -> None:
        self._print(json.dumps(value, indent=2))

    def text(self, text: str) -> None:
        """Print lines to stdout, unless the output is JSON."""
        if self.form is Form.TABLE:
            self._print(clean(text, lines=True))

    def note(self, text: str) -> None:
        self._print(clean(text, lines=True), sys.stderr)

    def clear(self) -> None:
        if self.is_terminal:
            sys.stdout.write("\x1b[2J\x1b[H")

    def _table(self, titles: Sequence[str], rows: Sequence[Sequence[str]], depth: int = 0) -> None:
        if self.is_terminal and _fits(rows, depth):
            self._rich_table(titles, rows, depth)
            return
        lines = [list(titles), *rows] if titles else list(rows)
        widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
        for line in lines:
            cells = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self._print(f"{'  ' * depth}{cells}".rstrip())

    def _rich_table(self, titles: Sequence[str], rows: Sequence[Sequence[str]], depth: int) -> None:
        from rich.console import Console
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=bool(titles), pad_edge=False)
        for title, column in zip(titles or [""] * len(rows[0]), zip(*rows, strict=True), strict=True):
            table.add_column(title, overflow="fold", no_wrap=_are_ids(column))
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(markup=False, highlight=False, emoji=False).print(Padding(table, (0, 0, 0, 2 * depth)))

    def _print(self, text: str, file: TextIO | None = None) -> None:
        print(text, file=file or sys.stdout, flush=True)


def _are_ids(column: Sequence[str]) -> bool:
    return all(_ID.fullmatch(cell) for cell in column)


def _fits(rows: Sequence[Sequence[str]], depth: int) -> bool:
    """Whether a terminal shows ids whole, and at least a few characters of each other cell."""
    widths = [
        max(map(len, column)) if _are_ids(column) else min(_LEAST, max(map(len, column)))
        for column in zip(*rows, strict=True)
    ]
    return 2 * depth + sum(widths) + 2 * (len(widths) - 1) <= get_terminal_size().columns


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
