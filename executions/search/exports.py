"""Writes the executions that match a search as CSV or JSON lines, in constant memory."""

from collections.abc import Iterator, Sequence
from typing import Final

from django.db.models import QuerySet

from executions.models import Execution
from executions.search.columns import COLUMNS
from executions.search.matching import with_failed_step
from foundation import exports
from foundation.database.bounded import time_limit

MOST: Final = 100_000
"""How many executions an export has at most: the newest ones."""
SECONDS: Final = 30
_CHUNK: Final = 2000


def lines(rows: QuerySet[Execution], columns: Sequence[str], form: str) -> Iterator[bytes]:
    """Yield at most `MOST` executions, one line each (`foundation.exports`). Raises `QueryTooSlow`."""
    found = with_failed_step(rows) if "step" in columns else rows
    with time_limit(SECONDS):
        values = ({name: COLUMNS[name][1](row) for name in columns} for row in found[:MOST].iterator(_CHUNK))
        yield from exports.lines(columns, values, form)
