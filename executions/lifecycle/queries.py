"""Reads executions and their history. The caller has checked access to the tenant."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from executions.errors import ExecutionUnknown
from executions.models import DeadLetter, Execution, ExecutionEvent, Resubmission
from tenancy.models import Tenant

LINKS_SHOWN = 20
EVENT_PAYLOADS = frozenset({"errorMessage", "traceback"})


def executions(tenant: Tenant) -> QuerySet[Execution]:
    """Return the tenant's executions, newest first, without their inputs and results."""
    return Execution.objects.filter(tenant=tenant).select_related("tenant").defer("input", "result")


def execution(tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    """Return one execution of the tenant. Raises `ExecutionUnknown`."""
    found = Execution.objects.filter(tenant=tenant, pk=execution_id).select_related("tenant").first()
    if found is None:
        raise ExecutionUnknown(f"There is no execution {execution_id}.")
    return found


def events(of: Execution) -> QuerySet[ExecutionEvent]:
    """Return the events of an execution, the first one first."""
    return of.events.order_by("sequence")


def without_payloads(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of an event without the message and the traceback of an error, which are payloads."""
    return {name: value for name, value in data.items() if name not in EVENT_PAYLOADS}


def result(of: Execution) -> Any:
    """Return the one value of a SINGLE result, or the list of a MATERIALIZED_MULTI result; None unless it succeeded."""
    if of.result is None or of.result_shape == "MATERIALIZED_MULTI":
        return of.result
    return of.result[0] if of.result else None


def traceback(of: Execution) -> str:
    """Return the traceback of the error that `of` shows; empty if the worker reported none."""
    if of.error_code is None:
        return ""
    data = of.events.filter(data__errorCode=of.error_code).order_by("-sequence").values_list("data", flat=True).first()
    return str((data or {}).get("traceback", ""))


def traceback_of(letter: DeadLetter) -> str:
    """Return the traceback of the failure that a dead letter records; empty if the worker reported none.

    The event has the time at which the transaction of both began, and the letter a later one.
    """
    events = letter.execution.events.filter(at__lte=letter.created_at, status=letter.terminal_status)
    data = events.order_by("-sequence").values_list("data", flat=True).first()
    return str((data or {}).get("traceback", ""))


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a new execution, and its status and release; "" if it was removed after its retention period."""

    resubmission: Resubmission
    status: str = ""
    release_version: str = ""


def links(of: Execution) -> list[Link]:
    """Return the newest links to the new executions of `of`, at most LINKS_SHOWN."""
    rows = list(Resubmission.objects.filter(execution=of)[:LINKS_SHOWN])
    found = Execution.objects.filter(pk__in=[each.pk for each in rows])
    states = {pk: (status, release) for pk, status, release in found.values_list("pk", "status", "release_version")}
    return [Link(each, *states.get(each.pk, ())) for each in rows]


def origin(of: Execution) -> Resubmission | None:
    """Return the link to the execution that `of` resubmits. None for an ordinary submission, or if that was removed."""
    return Resubmission.objects.filter(new_execution=of).first()
