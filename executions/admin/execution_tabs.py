"""The tabs on the page of an execution. Each is a link, and only the one that is shown is read."""

from collections.abc import Callable
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest

from executions.admin import execution_timeline, payloads
from executions.admin.execution_timeline import step_names
from executions.admin.filters import STATE_VARIANTS
from executions.admin.wording import REASONS
from executions.lifecycle import queries
from executions.models import DeadLetter, Execution
from foundation.admin.columns import on_one_line, precise

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
        "timeline": lambda: {"timeline": execution_timeline.shown(execution)},
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
        "curl": payloads.command(request, execution),
    }


def _error(execution: Execution, may_read: bool) -> dict[str, Any]:
    failures = DeadLetter.objects.filter(execution=execution).order_by("-created_at", "-id")[:FAILURES_SHOWN]
    names = dict(enumerate(step_names(execution)))
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
    names = dict(enumerate(step_names(execution)))
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
