"""The columns of lists and exports: which there are, which a person chose, the values of a row, and exported rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from django.db.models import QuerySet

from executions.models import DUE_VALUES, TERMINAL_VALUES, Execution, read_business_keys
from executions.models.states import PRIORITY_NAMES
from executions.search_steps import FAILED_VALUES, add_failed_steps
from executions.search_values import PREFIX, add_values, field_of
from foundation import exports
from foundation.database.bounded import time_limit
from foundation.errors import InvalidRequest
from releases.step_names import Step
from wire.documents.search import MOST_FIELDS

DEFAULT: Final = ("id", "key", "status", "pipeline", "release", "error", "duration", "submitted")
SEPARATOR: Final = ","


def step(execution: Execution) -> Step | None:
    """Return the step at which it failed or is now. Needs `search_steps.add_failed_steps`."""
    if execution.status in FAILED_VALUES:
        failed: int | None = execution.failed_step  # type: ignore[attr-defined]  # no column
        return None if failed is None else execution.step_at(failed)
    return None if execution.status in TERMINAL_VALUES else execution.step


def _step_title(execution: Execution) -> str | None:
    current = step(execution)
    return None if current is None else current.title


def seconds(execution: Execution) -> float | None:
    """Return the seconds from submission to the end; None for a live execution."""
    ended = execution.finished_at
    return None if ended is None else round((ended - execution.created_at).total_seconds(), 3)


COLUMNS: Final[dict[str, tuple[str, Callable[[Execution], Any]]]] = {
    "id": ("Execution", lambda row: str(row.pk)),
    "key": ("Key", lambda row: row.business_key),
    "status": ("Status", lambda row: row.shown_status),
    "pipeline": ("Pipeline", lambda row: row.pipeline_id),
    "release": ("Release", lambda row: row.release_version),
    "error": ("Error", lambda row: row.error_code),
    "step": ("Step", _step_title),
    "duration": ("Duration", seconds),
    "submitted": ("Submitted", lambda row: row.created_at.isoformat()),
    "finished": ("Finished", lambda row: row.finished_at and row.finished_at.isoformat()),
    "attempts": ("Retries", lambda row: row.attempt),
    "tags": ("Tags", lambda row: row.tags or []),
    "priority": ("Priority", lambda row: PRIORITY_NAMES[row.priority]),
    "due": ("Due", lambda row: row.due_at and row.due_at.isoformat() if row.status in DUE_VALUES else None),
    "expires": ("Expires", lambda row: row.expires_at and row.expires_at.isoformat()),
    "concurrency": ("Concurrency key", lambda row: row.concurrency_key),
    "by": ("Submitted by", lambda row: row.submitted_by),
    "smoke": ("Smoke test", lambda row: row.smoke),
    "tenant": ("Tenant", lambda row: row.tenant.slug),
}
"""The label of each column, and the value that it has in exports."""


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns in the order of `COLUMNS`, each once, and then `search.NAME` for each value to search.

    The id is always one of them. Raises `InvalidRequest` if one is unknown.
    """
    wanted = dict.fromkeys(names)
    values = [name for name in wanted if name.startswith(PREFIX) and field_of(name)]
    if unknown := sorted(wanted.keys() - COLUMNS.keys() - {*values}):
        rule = f"must be names of columns: {', '.join(COLUMNS)}, {PREFIX}NAME"
        errors = [{"field": "columns", "code": "INVALID", "message": rule}]
        raise InvalidRequest(f"columns: there is no column {unknown[0]!r}", errors=errors)
    return (*(name for name in COLUMNS if name in wanted or name == "id"), *values[:MOST_FIELDS])


def read_values(rows: Collection[Execution], columns: Collection[str]) -> None:
    """Read what the columns of these rows need and the rows do not have."""
    if "key" in columns:
        read_business_keys(rows)
    if "step" in columns:
        add_failed_steps(rows)
    if [name for name in columns if name.startswith(PREFIX)]:
        add_values(rows)


def _value(row: Execution, column: str) -> Any:
    if column.startswith(PREFIX):
        return row.found_values.get(field_of(column))  # type: ignore[attr-defined]  # no column
    return COLUMNS[column][1](row)


MOST: Final = 100_000
"""How many executions an export has at most: the newest ones."""
SECONDS: Final = 30
_CHUNK: Final = 2000


def lines(rows: QuerySet[Execution], columns: Sequence[str], form: str) -> Iterator[bytes]:
    """Yield at most `MOST` executions, one line each (`foundation.exports`). Raises `QueryTooSlow`."""
    with time_limit(SECONDS):
        values = ({name: _value(row, name) for name in columns} for row in _in_chunks(rows[:MOST], columns))
        yield from exports.lines(columns, values, form)


def _in_chunks(rows: QuerySet[Execution], columns: Collection[str]) -> Iterator[Execution]:
    iterator = rows.iterator(_CHUNK)
    while chunk := list(islice(iterator, _CHUNK)):
        read_values(chunk, columns)
        yield from chunk
