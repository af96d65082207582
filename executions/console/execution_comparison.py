"""The page that compares an execution with another one: pin, input, result, and how long each step ran."""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from executions.console.payloads import NONE, value_of
from executions.inspection.history import rows_of, worked
from executions.models import Execution
from foundation.spans import lasting
from tenancy.console.base import ReadOnlyAdmin, serves
from tenancy.roles import Scope
from wire.documents import json_writer

MOST_DIFFERENCES = 200
LONGEST_VALUE = 300
LONGEST_TERM = 1_500
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
MISSING: Final = object()
"""Stands for a member or an item that one of the values does not have."""

Difference = tuple[str, Any, Any]
"""A place such as `input.items[2].price`, and what each value has there."""


def differences(path: str, first: Any, other: Any) -> Iterator[Difference]:
    """Yield the differences between two values, in the order of the first one. Numbers are compared by value.

    Objects and lists are compared member by member, without recursion, so that any depth is possible.
    """
    open_pairs = [(path, first, other)]
    while open_pairs:
        at, left, right = open_pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            keys = [*left, *(key for key in right if key not in left)]
            pairs = [(at + _member(key), left.get(key, MISSING), right.get(key, MISSING)) for key in keys]
            open_pairs.extend(reversed(pairs))
        elif isinstance(left, list) and isinstance(right, list):
            items = [
                (f"{at}[{n}]", left[n] if n < len(left) else MISSING, right[n] if n < len(right) else MISSING)
                for n in range(max(len(left), len(right)))
            ]
            open_pairs.extend(reversed(items))
        elif left is MISSING or right is MISSING or not json_writer.equal(left, right):
            yield at, left, right


def _member(key: str) -> str:
    return f".{key}" if _NAME.fullmatch(key) else f"[{json.dumps(key, ensure_ascii=False)}]"


@serves("<uuid:object_id>/compare/")
def show(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution) -> HttpResponse:
    """Show the form, and the comparison with the execution that the query names."""
    term = request.GET.get("other", "").strip()
    other = _found(pages, request, execution, term) if term else None
    may_read = all(pages.has_scope(request, Scope.PAYLOADS, shown) for shown in (execution, other) if shown is not None)
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
        match: Execution | None = rows.filter(pk=uuid.UUID(term)).first()
    except ValueError:
        if len(term) > LONGEST_TERM:
            return None
        match = rows.filter(tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, execution_key=term).first()
    return match


def _compared(one: Execution, other: Execution, may_read: bool) -> dict[str, Any]:
    differing = (
        [difference for name in ("input", "result") for difference in _differences(name, one, other)]
        if may_read
        else []
    )
    return {
        "facts": [(name, left, right, left != right) for name, left, right in _facts(one, other)],
        "differences": [(path, _value(left), _value(right)) for path, left, right in differing[:MOST_DIFFERENCES]],
        "more_differences": len(differing) > MOST_DIFFERENCES,
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


def _duration(execution: Execution) -> str:
    return lasting(execution.finished_at - execution.created_at) if execution.finished_at else "not finished"


def _differences(name: str, one: Execution, other: Execution) -> list[Difference]:
    left, right = (MISSING if (value := value_of(execution, name)) is NONE else value for execution in (one, other))
    return list(islice(differences(name, left, right), MOST_DIFFERENCES + 1)) if left is not right else []


def _value(value: Any) -> str:
    if value is MISSING:
        return "(missing)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _steps(one: Execution, other: Execution) -> list[tuple[str, str, str]]:
    """Return the name of each step, and how long it ran in both. Steps are matched by their names."""
    now = timezone.now()
    left, right = ({row.step.title: worked(row) for row in rows_of(execution, now)} for execution in (one, other))
    names = [*left, *(name for name in right if name not in left)]
    return [(name, _lasting(left.get(name)), _lasting(right.get(name))) for name in names]


def _lasting(span: timedelta | None) -> str:
    return "-" if span is None else lasting(span)
