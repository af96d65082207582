"""The tabs on the page of an execution, and the page that compares it with another one.

Each tab is a link, and only the one that is shown is read.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from executions.console import payloads
from executions.console.filters import STATE_VARIANTS
from executions.console.payloads import NONE, value_of
from executions.failures.queries import REASONS, step_names
from executions.inspection.timeline import BUSY, Await, Bar, Kind, Pause, Row, timeline
from executions.inspection.timeline_times import Axis
from executions.inspection.value_differences import MISSING, Difference, differences
from executions.lifecycle import queries
from executions.models import AwaitUnit, DeadLetter, Execution, Hold, Interaction
from foundation.admin.columns import lasting, on_one_line, precise
from tenancy.console.base import ReadOnlyAdmin, serves
from tenancy.roles import Scope
from wire.documents.execution_runs import Event

EVENTS_SHOWN = 100
CHECKPOINTS_SHOWN = 100
FAILURES_SHOWN = 20
TITLES = {
    "timeline": "Timeline",
    "payloads": "Input and result",
    "error": "Error",
    "events": "Events",
    "progress": "Checkpoints",
}


def shown(request: HttpRequest, execution: Execution, *, may_read: bool) -> dict[str, Any]:
    """Return the context of the tab that the query names; of the timeline if it names none."""
    requested = request.GET.get("tab", "")
    tab = requested if requested in TITLES else "timeline"
    context: dict[str, Callable[[], dict[str, Any]]] = {
        "timeline": lambda: {"timeline": timeline_of(execution)},
        "payloads": lambda: _payloads(request, execution) if may_read else {},
        "error": lambda: _error(execution, may_read),
        "events": lambda: _events(request, execution, may_read),
        "progress": lambda: _progress(execution, may_read),
    }
    tabs = [(name, title) for name, title in TITLES.items() if name != "error" or execution.error_code or tab == name]
    return {"tab": tab, "tabs": tabs, **context[tab]()}


def _payloads(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    return {
        "input": payloads.shown(execution, "input"),
        "result": payloads.shown(execution, "result"),
        "curl": payloads.curl(request, execution),
    }


def _error(execution: Execution, may_read: bool) -> dict[str, Any]:
    failures = DeadLetter.objects.filter(execution=execution).order_by("-created_at", "-id")[:FAILURES_SHOWN]
    names = dict(enumerate(step_names(execution.release)))
    return {
        "traceback": queries.traceback(execution) if may_read else "",
        "failures": [
            (each, f"{each.failed_step_index + 1}. {names.get(each.failed_step_index, '')}", REASONS[each.reason])
            for each in failures
        ],
    }


def _events(request: HttpRequest, execution: Execution, may_read: bool) -> dict[str, Any]:
    """Return one page of the events, newest first. Events have no gaps, so their number is known."""
    rows = execution.events.order_by("-sequence")
    pages = Paginator(rows, EVENTS_SHOWN)
    pages.count = execution.event_count  # in place of a query
    page = pages.get_page(request.GET.get("page"))
    return {
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


def _progress(execution: Execution, may_read: bool) -> dict[str, Any]:
    kept = execution.events.filter(kind="CHECKPOINT").order_by("-sequence")[: CHECKPOINTS_SHOWN + 1]
    names = dict(enumerate(step_names(execution.release)))
    rows = [
        {
            "sequence": event.sequence,
            "at": precise(event.at),
            "next": f"{event.data['nextStepIndex'] + 1}. {names.get(event.data['nextStepIndex'], '')}",
            "worker": event.data.get("worker", ""),
        }
        for event in kept
    ]
    return {
        "checkpoints": rows[:CHECKPOINTS_SHOWN],
        "more_checkpoints": len(rows) > CHECKPOINTS_SHOWN,
        "next_step": f"{execution.current_step_index + 1}. {names.get(execution.current_step_index, '')}",
        "checkpoint": payloads.shown(execution, "checkpoint") if may_read else None,
    }


# --- the timeline ---

MOST_EVENTS = 2_000
MOST_AWAITS = 200
MOST_ANSWERS = 500
"""Those who answered an await of more items are not named."""
MOST_BARS = 500
NAMED = 3
"""How many of those who answered an await are named."""
LABELS = {
    Kind.WORK: "Ran",
    Kind.FAILED: "Failed",
    Kind.LOST: "Ran without an outcome",
    Kind.QUEUED: "Waited for a worker",
    Kind.RETRY: "Waited for a retry",
    Kind.AWAIT: "Waited for answers",
    Kind.PAUSED: "Paused",
}


def rows_of(execution: Execution, now: datetime) -> list[Row]:
    """Return the timeline of an execution, from its newest MOST_EVENTS events."""
    columns = ("sequence", "kind", "status", "at", "data")
    newest = execution.events.order_by("-sequence").values_list(*columns)[:MOST_EVENTS]
    events = [Event(*row) for row in reversed(newest)]
    awaits, pauses = _awaits(execution), _pauses(execution)
    return timeline(
        step_names(execution.release), events, awaits, pauses, now=now, running_since=execution.running_since
    )


def worked(row: Row) -> timedelta | None:
    """Return how long a step ran, in all attempts; None if that is not known."""
    known = [bar.end - bar.start for bar in row.bars if bar.kind in (Kind.WORK, Kind.FAILED) and bar.last == row.index]
    return sum(known, timedelta()) if known else None


def timeline_of(execution: Execution) -> dict[str, Any]:
    """Return the context of `executions/timeline.html`."""
    now = timezone.now()
    rows = rows_of(execution, now)
    bars = [bar for row in rows for bar in row.bars]
    until = max([execution.finished_at or now, *(bar.end for bar in bars)])
    start = min([execution.created_at, *(bar.start for bar in bars)])
    axis = Axis(start, until, [(bar.start, bar.end) for bar in bars if bar.kind in BUSY])
    listed = sorted(((bar, row) for row in rows for bar in row.bars), key=lambda each: (each[0].start, each[0].end))
    kept = {id(bar) for bar, _ in listed[-MOST_BARS:]}
    return {
        "rows": [_placed(row, axis, kept) for row in rows],
        "gaps": [{"left": gap.left, "width": gap.width, "label": lasting(gap.end - gap.start)} for gap in axis.gaps],
        "begins": start,
        "lasted": lasting(until - start),
        "kinds": [(kind.value, LABELS[kind]) for kind in Kind if any(bar.kind is kind for bar in bars)],
        "listed": [_listed(bar, row, rows) for bar, row in listed[-MOST_BARS:]],
        "more_bars": max(0, len(listed) - MOST_BARS),
        "more_events": max(0, execution.event_count - MOST_EVENTS),
    }


def _placed(row: Row, axis: Axis, kept: set[int]) -> dict[str, Any]:
    return {
        "number": row.index + 1,
        "name": row.name,
        "progress": row.progress.value,
        "bars": [_bar(bar, row, axis) for bar in row.bars if id(bar) in kept],
    }


def _bar(bar: Bar, row: Row, axis: Axis) -> dict[str, Any]:
    left = axis.place(bar.start)
    return {
        "kind": bar.kind.value,
        "left": left,
        "width": axis.place(bar.end) - left,
        "steps": bar.last - row.index + 1,
        "lasts": bar.lasts,
        "title": f"{LABELS[bar.kind]} {lasting(bar.end - bar.start)}. {bar.note}".strip(),
    }


def _listed(bar: Bar, row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    step = f"{row.index + 1}. {row.name}"
    if bar.last > row.index:
        step = f"{row.index + 1} to {bar.last + 1}. {row.name} to {rows[min(bar.last, len(rows) - 1)].name}"
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


def _awaits(execution: Execution) -> list[Await]:
    units = list(AwaitUnit.objects.filter(execution=execution).order_by("-created_at", "-id")[:MOST_AWAITS])
    actors: dict[Any, list[str]] = defaultdict(list)
    few = [unit.pk for unit in units if unit.answered_items > 0 and unit.expected_items <= MOST_ANSWERS]
    answers = Interaction.objects.filter(unit__in=few, status=Interaction.Status.COMPLETED)
    for unit_id, actor in answers.order_by("unit", "item_index").values_list("unit", "actor")[:MOST_ANSWERS]:
        if actor not in actors[unit_id]:
            actors[unit_id].append(str(actor))
    return [
        Await(
            unit.step_index,
            unit.created_at,
            None if unit.status == AwaitUnit.Status.WAITING_EXTERNAL else unit.updated_at,
            unit.expected_items,
            unit.answered_items,
            _named(actors[unit.pk]),
        )
        for unit in units
    ]


def _named(actors: Sequence[str]) -> list[str]:
    return [*actors[:NAMED], *(["others"] if len(actors) > NAMED else [])]


def _pauses(execution: Execution) -> list[Pause]:
    """Return the pauses of the execution, and the open ones of its release and its pipeline.

    No index leads to pauses of a release that have ended, so those are not drawn.
    """
    release = execution.release
    open_ones = Q(release=release, ended_at=None) | Q(pipeline=release.pipeline_id, ended_at=None)
    own = Hold.objects.filter(execution=execution).order_by("started_at", "id")[:MOST_AWAITS]
    names = {True: "The execution", False: "Its release or its pipeline"}
    return [
        Pause(names[hold.execution_id is not None], hold.started_by, hold.started_at, hold.ended_at)
        for hold in [*own, *Hold.objects.filter(open_ones)]
    ]


# --- the comparison ---

MOST_DIFFERENCES = 200
LONGEST_VALUE = 300
LONGEST_TERM = 1_500


@serves("<uuid:object_id>/compare/")
def compare(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution) -> HttpResponse:
    """Show the form, and the comparison with the execution that the query names: pin, input, result, time of steps."""
    term = request.GET.get("other", "").strip()
    other = _found(pages, request, execution, term) if term else None
    may_read = all(pages.may(request, Scope.PAYLOADS, each) for each in (execution, other) if each is not None)
    return pages.page(
        request,
        "executions/comparison.html",
        status=404 if term and other is None else 200,
        title="Compare executions",
        original=execution,
        execution=execution,
        other=other,
        term=term,
        may_read=may_read,
        **(_compared(execution, other, may_read) if other else {}),
    )


def _found(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution, term: str) -> Execution | None:
    """Return the execution with this id, or of the same pipeline with this key, if the user may see it."""
    rows = pages.get_queryset(request)
    try:
        found: Execution | None = rows.filter(pk=uuid.UUID(term)).first()
    except ValueError:
        if len(term) > LONGEST_TERM:
            return None
        found = rows.filter(tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, execution_key=term).first()
    return found


def _compared(one: Execution, other: Execution, may_read: bool) -> dict[str, Any]:
    found = [each for name in ("input", "result") for each in _differences(name, one, other)] if may_read else []
    return {
        "facts": [(name, left, right, left != right) for name, left, right in _facts(one, other)],
        "differences": [(each.path, _value(each.one), _value(each.other)) for each in found[:MOST_DIFFERENCES]],
        "more_differences": len(found) > MOST_DIFFERENCES,
        "steps": _steps(one, other),
    }


def _facts(one: Execution, other: Execution) -> list[tuple[str, Any, Any]]:
    names = (
        ("Pipeline", "pipeline_id"),
        ("Release", "release_version"),
        ("Contract version", "contract_version"),
        ("Status", "shown_status"),
        ("Error", "error_code"),
        ("Submitted by", "submitted_by"),
    )
    facts = [(name, getattr(one, column) or "-", getattr(other, column) or "-") for name, column in names]
    return [*facts, ("Duration", _duration(one), _duration(other))]


def _duration(of: Execution) -> str:
    return lasting(of.finished_at - of.created_at) if of.finished_at else "not finished"


def _differences(name: str, one: Execution, other: Execution) -> list[Difference]:
    left, right = (MISSING if (value := value_of(each, name)) is NONE else value for each in (one, other))
    return list(islice(differences(name, left, right), MOST_DIFFERENCES + 1)) if left is not right else []


def _value(value: Any) -> str:
    if value is MISSING:
        return "(missing)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _steps(one: Execution, other: Execution) -> list[tuple[str, str, str]]:
    """Return the name of each step, and how long it ran in both. Steps are matched by their names."""
    now = timezone.now()
    left, right = ({row.name: worked(row) for row in rows_of(each, now)} for each in (one, other))
    names = [*left, *(name for name in right if name not in left)]
    return [(name, _lasting(left.get(name)), _lasting(right.get(name))) for name in names]


def _lasting(span: timedelta | None) -> str:
    return "-" if span is None else lasting(span)
