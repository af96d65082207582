"""The tabs on the page of an execution. Each is a link, and only the one that is shown is read."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils import timezone

from executions.console import payloads
from executions.console.filters import STATE_VARIANTS
from executions.failures.queries import REASONS, step_of
from executions.inspection.history import MOST_EVENTS, rows_of
from executions.inspection.timeline import BUSY, Bar, Kind, Row
from executions.lifecycle import queries
from executions.models import DeadLetter, Execution, FailedItems, Notification
from executions.step_reports import failed_items, step_reports
from foundation.admin.columns import on_one_line, precise
from foundation.plurals import counted
from foundation.spans import lasting
from tenancy.console.lists import MESSAGE_VARIANTS

EVENTS_SHOWN = 100
CHECKPOINTS_SHOWN = 100
FAILURES_SHOWN = 20
MESSAGES_SHOWN = 20
ITEMS_SHOWN = 100
LONGEST_ITEM_SHOWN = 200
"""In characters of its JSON."""
TITLES = {
    "timeline": "Timeline",
    "payloads": "Input and result",
    "items": "Failed items",
    "error": "Error",
    "logs": "Logs",
    "events": "Events",
    "progress": "Checkpoints",
}


def shown(request: HttpRequest, execution: Execution, *, may_read: bool) -> dict[str, Any]:
    """Return the context of the tab that the query names; of the timeline if it names none."""
    requested = request.GET.get("tab", "")
    tab = requested if requested in TITLES else "timeline"
    failing = failed_items.of_execution(execution)
    context: dict[str, Callable[[], dict[str, Any]]] = {
        "timeline": lambda: {"timeline": timeline_of(execution)},
        "payloads": lambda: _payloads(request, execution) if may_read else {},
        "items": lambda: {"failing_steps": [_failing(execution, step) for step in failing] if may_read else []},
        "error": lambda: _error(execution, may_read),
        "logs": lambda: {"lines": _lines(execution) if may_read else []},
        "events": lambda: _events(request, execution, may_read),
        "progress": lambda: _progress(execution, may_read),
    }
    empty = {"error": not execution.error_code, "logs": not execution.reported, "items": not failing}
    tabs = [(name, title) for name, title in TITLES.items() if not empty.get(name) or tab == name]
    return {"tab": tab, "tabs": tabs, **context[tab]()}


def _payloads(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    return {
        "input": payloads.shown(execution, "input"),
        "result": payloads.shown(execution, "result"),
        "curl": payloads.curl(request, execution),
    }


def _failing(execution: Execution, row: FailedItems) -> dict[str, Any]:
    shown = row.items[:ITEMS_SHOWN]
    return {
        "title": execution.step_at(row.step_index).title,
        "summary": f"{counted(row.failed, 'item')} failed, and the execution continued.",
        "is_complete": row.is_complete,
        "more": row.failed - len(shown),
        "items": [{**item, "shown": _rendered(item)} for item in shown],
    }


def _rendered(failed: Mapping[str, Any]) -> str:
    if "item" not in failed:
        return "not stored, too large"
    text = json.dumps(failed["item"], ensure_ascii=False)
    return text if len(text) <= LONGEST_ITEM_SHOWN else f"{text[: LONGEST_ITEM_SHOWN - 1]}…"


def _error(execution: Execution, may_read: bool) -> dict[str, Any]:
    failures = DeadLetter.objects.filter(execution=execution).order_by("-created_at", "-id")[:FAILURES_SHOWN]
    return {
        "traceback": queries.traceback(execution) if may_read else "",
        "failures": [
            (failure, step_of(execution.release, failure.failed_step_index), REASONS[failure.reason])
            for failure in failures
        ],
    }


def _events(request: HttpRequest, execution: Execution, may_read: bool) -> dict[str, Any]:
    """Return one page of the events, newest first. Events have no gaps, so their number is known."""
    rows = execution.events.order_by("-sequence")
    pages = Paginator(rows, EVENTS_SHOWN)
    pages.count = execution.event_count  # in place of a query
    page = pages.get_page(request.GET.get("page"))
    may_notify = execution.notify or execution.notify_by_policy
    messages = Notification.objects.filter(execution_id=execution.pk)[:MESSAGES_SHOWN] if may_notify else ()
    return {
        "notifications": [(message, MESSAGE_VARIANTS[message.state]) for message in messages],
        "events_page": page,
        "events": [
            {
                "event": event,
                "at": precise(event.at),
                "variant": STATE_VARIANTS.get(event.status, ""),
                "data": on_one_line(event.data if may_read else queries.without_payloads(event.data)),
            }
            for event in page
        ],
    }


LEVEL_VARIANTS: Final = {"DEBUG": "default", "WARNING": "warning", "ERROR": "danger", "CRITICAL": "danger"}
"""The colours of the levels of lines. Most lines have the level INFO, which is not shown."""


def _lines(execution: Execution) -> list[dict[str, Any]]:
    """Return the rows of the lines. The date is given where it changes."""
    rows: list[dict[str, Any]] = []
    before = ""
    for line in step_reports.lines_of(execution):
        at = precise(line.at)
        date, time, zone = at.split(" ", 2)
        variant = LEVEL_VARIANTS.get(line.level)
        rows.append(
            {
                "line": line,
                "at": at,
                "date": f"{date} {zone}" if date != before else "",
                "time": time,
                "variant": variant,
            }
        )
        before = date
    return rows


def _progress(execution: Execution, may_read: bool) -> dict[str, Any]:
    kept = execution.events.filter(kind="CHECKPOINT").order_by("-sequence")[: CHECKPOINTS_SHOWN + 1]
    rows = [
        {
            "sequence": event.sequence,
            "at": precise(event.at),
            "next": step_of(execution.release, event.data["nextStepIndex"]),
            "worker": event.data.get("worker", ""),
        }
        for event in kept
    ]
    return {
        "checkpoints": rows[:CHECKPOINTS_SHOWN],
        "more_checkpoints": len(rows) > CHECKPOINTS_SHOWN,
        "next_step": step_of(execution.release, execution.current_step_index),
        "checkpoint": payloads.shown(execution, "checkpoint") if may_read else None,
    }


SHORTEST_GAP: Final = timedelta(milliseconds=100)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Gap:
    """A collapsed time, with its place and width in per cent of the axis."""

    start: datetime
    end: datetime
    left: float
    width: float


class Axis:
    """The axis from `start` to `end`. `busy` are the spans that are never collapsed.

    A time between them is collapsed if it is longer than half of all that is busy. The collapsed times together take a
    third of the axis at most. Without anything busy, nothing is collapsed.
    """

    def __init__(self, start: datetime, end: datetime, busy: Iterable[Span]) -> None:
        pieces = list(_pieces(start, max(end, start), _merged(busy)))
        worked = sum((last - first for first, last, works in pieces if works), timedelta())
        limit = max(worked / 2, SHORTEST_GAP) if worked else timedelta.max
        collapsed = [not works and last - first > limit for first, last, works in pieces]
        narrow = worked / (2 * max(sum(collapsed), 1))
        lengths = [
            narrow if is_gap else last - first for (first, last, _), is_gap in zip(pieces, collapsed, strict=True)
        ]
        total = sum(lengths, timedelta()) or timedelta(microseconds=1)
        self._times = [first for first, _, _ in pieces] + [max(end, start)]
        self._places = [0.0]
        for length in lengths:
            self._places.append(self._places[-1] + 100 * (length / total))
        self.gaps = [
            Gap(first, last, self._places[n], self._places[n + 1] - self._places[n])
            for n, (first, last, _) in enumerate(pieces)
            if collapsed[n]
        ]

    def place(self, moment: datetime) -> float:
        """Return the place of a time in per cent. Times outside of the axis are at its ends."""
        if moment <= self._times[0]:
            return 0.0
        if moment >= self._times[-1]:
            return 100.0
        n = bisect_right(self._times, moment) - 1
        share = (moment - self._times[n]) / (self._times[n + 1] - self._times[n])
        return self._places[n] + share * (self._places[n + 1] - self._places[n])


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _pieces(start: datetime, end: datetime, busy: Sequence[Span]) -> Iterable[tuple[datetime, datetime, bool]]:
    """Yield the axis in pieces that are busy or idle throughout."""
    reached = start
    for first, last in busy:
        first, last = max(first, start), min(last, end)
        if first >= last:
            continue
        if first > reached:
            yield reached, first, False
        yield first, last, True
        reached = last
    if reached < end:
        yield reached, end, False


MOST_BARS = 500
LABELS = {
    Kind.WORK: "Ran",
    Kind.FAILED: "Failed",
    Kind.LOST: "Ran without an outcome",
    Kind.START: "Waited to start",
    Kind.QUEUED: "Waited for a worker",
    Kind.RETRY: "Waited for a retry",
    Kind.AWAIT: "Waited for answers",
    Kind.PAUSED: "Paused",
}


def timeline_of(execution: Execution) -> dict[str, Any]:
    """Return the context of `executions/timeline.html`."""
    now = timezone.now()
    rows = rows_of(execution, now)
    bars = [bar for row in rows for bar in row.bars]
    drawn = {bar.kind for bar in bars}
    until = max([execution.finished_at or now, *(bar.end for bar in bars)])
    start = min([execution.created_at, *(bar.start for bar in bars)])
    axis = Axis(start, until, [(bar.start, bar.end) for bar in bars if bar.kind in BUSY])
    listed = sorted(((bar, row) for row in rows for bar in row.bars), key=lambda pair: (pair[0].start, pair[0].end))
    kept = {id(bar) for bar, _ in listed[-MOST_BARS:]}
    return {
        "rows": [_placed(row, axis, kept) for row in rows],
        "gaps": [{"left": gap.left, "width": gap.width, "label": lasting(gap.end - gap.start)} for gap in axis.gaps],
        "begins": start,
        "lasted": lasting(until - start),
        "kinds": [(kind.value, LABELS[kind]) for kind in Kind if kind in drawn],
        "listed": [_listed(bar, row, rows) for bar, row in listed[-MOST_BARS:]],
        "more_bars": max(0, len(listed) - MOST_BARS),
        "more_events": max(0, execution.event_count - MOST_EVENTS),
    }


def _placed(row: Row, axis: Axis, kept: set[int]) -> dict[str, Any]:
    return {
        "number": row.step.index + 1,
        "name": row.step.title,
        "progress": row.progress.value,
        "bars": [_bar(bar, row, axis) for bar in row.bars if id(bar) in kept],
    }


def _bar(bar: Bar, row: Row, axis: Axis) -> dict[str, Any]:
    left = axis.place(bar.start)
    return {
        "kind": bar.kind.value,
        "left": left,
        "width": axis.place(bar.end) - left,
        "steps": bar.last - row.step.index + 1,
        "lasts": bar.lasts,
        "title": f"{LABELS[bar.kind]} {lasting(bar.end - bar.start)}. {bar.note}".strip(),
    }


def _listed(bar: Bar, row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    step = f"{row.step.index + 1}. {row.step.title}"
    if bar.last > row.step.index:
        last = rows[min(bar.last, len(rows) - 1)]
        step = f"{row.step.index + 1} to {bar.last + 1}. {row.step.title} to {last.step.title}"
    return {
        "step": step,
        "kind": bar.kind.value,
        "what": LABELS[bar.kind],
        "attempt": bar.attempt,
        "worker": bar.worker,
        "at": precise(bar.start),
        "lasted": lasting(bar.end - bar.start) + (" so far" if bar.lasts else ""),
        "note": bar.note,
    }
