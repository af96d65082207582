"""Writes the executions that match a search as CSV or JSON lines, in constant memory."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from django.db.models import QuerySet

from executions.models import Execution
from executions.search.columns import COLUMNS
from executions.search.matching import with_failed_step
from foundation import spreadsheet
from foundation.database.bounded import time_limit

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
"""The media type of each format."""
MOST: Final = 100_000
"""How many executions an export has at most: the newest ones."""
SECONDS: Final = 30
_CHUNK: Final = 2000


def lines(rows: QuerySet[Execution], columns: Sequence[str], form: str) -> Iterator[bytes]:
    """Yield at most `MOST` executions, one line each. CSV begins with the names of the columns.

    In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe. Raises `QueryTooSlow`.
    """
    found = with_failed_step(rows) if "step" in columns else rows
    if form == "csv":
        yield spreadsheet.line(columns)
    with time_limit(SECONDS):
        for row in found[:MOST].iterator(_CHUNK):
            values = {name: COLUMNS[name][1](row) for name in columns}
            yield _csv(values) if form == "csv" else f"{json.dumps(values, ensure_ascii=False)}\n".encode()


def _csv(values: dict[str, object]) -> bytes:
    return spreadsheet.line(" ".join(each) if isinstance(each, list) else each for each in values.values())
