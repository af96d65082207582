"""Writes rows as CSV for spreadsheets or as JSON lines, in constant memory. Pure."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final, TypeVar

from foundation.errors import ExportTooLarge
from wire.documents import json_writer

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
"""The media type of each format."""
T = TypeVar("T")


def lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], form: str) -> Iterator[bytes]:
    """Yield one line for each row. CSV begins with the names of the columns.

    In CSV, the items of a list are separated by spaces, and an apostrophe precedes what a spreadsheet could take for a
    formula.
    """
    if form == "csv":
        yield csv_line(columns)
        for row in rows:
            yield csv_line(" ".join(value) if isinstance(value, list) else value for value in row.values())
    else:
        for row in rows:
            yield f"{json_writer.text(row)}\n".encode()


def at_most(most: int, rows: Iterable[T]) -> Iterator[T]:
    """Yield `rows`. Raises `ExportTooLarge` if there are more than `most`."""
    for number, row in enumerate(rows):
        if number == most:
            raise ExportTooLarge(f"More than {most:,} rows match. Add a condition, such as a time.")
        yield row


_FORMULA: Final = re.compile(r"""^(?=[\t\r\n])|(?:^|(?<=[;,|\t\r\n]))(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
"""Where a formula could begin: in the text, or after what a spreadsheet may take for the end of a cell.

Spaces and quotes before it do not count, and the signs may be full-width ones.
"""


def csv_line(cells: Iterable[object]) -> bytes:
    """Return one line with every cell in quotes. An apostrophe precedes what a spreadsheet could take for a formula.

    In some countries, spreadsheets split lines at semicolons, also within quotes. So an apostrophe also follows each
    separator that precedes a formula. Negative numbers are numbers, so they get none. None is an empty cell.
    """
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([_cell(cell) for cell in cells])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return _FORMULA.sub("'", value) if isinstance(value, str) else str(value)
