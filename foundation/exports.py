"""Writes rows as CSV or JSON lines, in constant memory. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from foundation import spreadsheet
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
        yield spreadsheet.line(columns)
        for row in rows:
            yield spreadsheet.line(" ".join(each) if isinstance(each, list) else each for each in row.values())
    else:
        for row in rows:
            yield f"{json_writer.text(row)}\n".encode()


def at_most(most: int, rows: Iterable[T]) -> Iterator[T]:
    """Yield `rows`. Raises `ExportTooLarge` if there are more than `most`."""
    for number, row in enumerate(rows):
        if number == most:
            raise ExportTooLarge(f"More than {most:,} rows match. Add a condition, such as a time.")
        yield row
