"""Stores and reads what the code of steps reports: progress, details for the next attempt, and lines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings

from executions import models
from executions.models import Execution
from foundation.database import prepared
from releases.step_names import step_names
from wire.documents.json_reader import storable
from wire.messages.celery_messages import LeaseReport, Outcome, StepReport, attempt_of
from wire.messages.step_reports import LONGEST_TOGETHER, Level, StepLine

# Stores reports of running executions under their leases, which the transaction has locked. Each replaces the earlier
# report under its lease; details stay until there are new ones. The execution becomes `reported`. No row is written for
# a lost lease. The policy of the pipeline says whether lines are kept.
STORE: Final = """
WITH requested AS (
    SELECT DISTINCT ON (a.id) a.id, a.token, a.key, a.done, a.total, a.message, a.details,
        CASE WHEN p.keep_logs THEN a.lines ELSE '[]' END AS lines
    FROM json_to_recordset(%(reports)s::json) AS a(
        id uuid, token uuid, key text, done bigint, total bigint, message text, details jsonb, lines jsonb)
    JOIN executions_execution e ON e.id = a.id JOIN releases_release l ON l.id = e.release_id
    JOIN releases_pipeline p ON p.id = l.pipeline_id WHERE e.lease_token = a.token
), marked AS (
    UPDATE executions_execution e SET reported = true FROM requested a WHERE e.id = a.id AND e.reported IS NOT TRUE
)
INSERT INTO executions_stepreport AS r (execution_id, lease_token, transition_key, done, total, message, details, lines)
SELECT id, token, key, done, total, message, details, lines FROM requested
ON CONFLICT (execution_id, lease_token) DO UPDATE SET done = EXCLUDED.done, total = EXCLUDED.total,
    message = EXCLUDED.message, details = coalesce(EXCLUDED.details, r.details), lines = EXCLUDED.lines,
    reported_at = now()
"""


_NEWEST: Final = ("-reported_at", "-transition_key", "-lease_token")


def store(reports: Iterable[LeaseReport | Outcome]) -> None:
    """Store reports of running transitions, or those in their outcomes before these are recorded.

    The caller has locked the executions in its transaction.
    """
    pairs = ((reported, reported if isinstance(reported, LeaseReport) else reported.report) for reported in reports)
    rows = [_row(reported, report) for reported, report in pairs if report is not None]
    if rows:
        with prepared.cursor() as cursor:
            cursor.execute(STORE, {"reports": json.dumps(rows)})


def _row(reported: LeaseReport | Outcome, report: StepReport) -> dict[str, Any]:
    return {
        "id": str(reported.execution_id),
        "token": str(reported.lease_token),
        "key": reported.transition_key,
        "done": report.done,
        "total": None if report.done is None else report.total,
        "message": _clean(report.message),
        "details": _details(report.details),
        "lines": _kept(report.lines) if settings.KEEP_STEP_LINES else [],
    }


def _kept(lines: Sequence[StepLine]) -> list[Sequence[Any]]:
    """Return the newest lines that have LONGEST_TOGETHER characters together, as the protocol limits them."""
    kept: list[Sequence[Any]] = []
    characters = 0
    for *about, text in reversed(lines):
        characters += len(text)
        if characters > LONGEST_TOGETHER:
            break
        kept.append((*about, _clean(text)))
    return kept[::-1]


def _clean(text: str) -> str:
    """Return the text without what PostgreSQL cannot store."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _details(text: str) -> Any:
    """Return the details; None if there are none, or if they cannot be stored."""
    try:
        return storable(text) if text else None
    except ValueError:
        return None


_LATEST: Final = 221_845_392_000_000
"""The latest time that is shown, in milliseconds since 1970: the year 9000. The clock of a worker may be wrong."""
TRANSITIONS_SHOWN: Final = 20
"""How many of the newest transitions are read for the lines of an execution."""


def newest(execution: Execution) -> models.StepReport | None:
    """Return the newest report of an execution without its lines; None if its steps have reported nothing."""
    return execution.step_reports.defer("lines").order_by(*_NEWEST).first() if execution.reported else None


def newest_details(execution: Execution) -> str:
    """Return the details that an earlier attempt left last, as `StepReport.details`; empty if there are none."""
    if not execution.reported:
        return ""
    found = execution.step_reports.exclude(details=None).order_by(*_NEWEST).values_list("details", flat=True).first()
    return "" if found is None else json.dumps(found)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the code of a step wrote."""

    at: datetime
    level: Level
    step_index: int
    step_name: str
    attempt: int
    item: int | None
    text: str


def lines_of(execution: Execution) -> list[Line]:
    """Return the lines that the steps of an execution wrote in its newest transitions, the first one first."""
    reports = execution.step_reports.order_by(*_NEWEST)[:TRANSITIONS_SHOWN] if execution.reported else ()
    names = dict(enumerate(step_names(execution.release_id, execution.contract_version)))
    return [
        Line(
            datetime.fromtimestamp(min(at, _LATEST) / 1000, UTC),
            level,
            step,
            names.get(step, ""),
            attempt_of(report.transition_key),
            item,
            text,
        )
        for report in reversed(reports)
        for at, level, step, item, text in report.lines
    ]
