"""Opens awaits: writes the unit and its interactions with the move that parks the execution (wire protocol F)."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from django.db import connection

from executions import spans
from executions.awaits import statements
from executions.awaits.awaits import EXPIRE_TASK, INTERACTION_API, SEND_TASK, WEBHOOK, resume
from executions.models import Interaction
from foundation import wakeup
from foundation.database import prepared
from tenancy.models import Tenant
from wire.addresses import is_web_address
from wire.documents.contract import TIMER
from wire.identity import RULE, is_identifier
from wire.messages.celery_messages import LONGEST_TYPE, LONGEST_WAIT, Suspension
from wire.messages.suspension import ImportedInteraction, ImportedSuspension
from wire.traceparent import NONE

FIRST_STATUS = {
    INTERACTION_API: Interaction.Status.DISPATCHED,
    WEBHOOK: Interaction.Status.WAITING,
    TIMER: Interaction.Status.WAITING,
}
HIGHEST_STEP = 2**31 - 2  # the step after it must be a number that its column holds
MOST_SENDERS = 8
LONGEST_ACTOR = 200


@dataclass(frozen=True, slots=True)
class Parking:
    """An execution that reached an await, and the unit that is to be opened for it.

    `opened` is what the worker has opened itself: the unit under its name, and an interaction for each request. If it
    is None, the coordinator opens an interaction for each request. `traceparent` is the context of the suspended run,
    empty if it is not traced.
    """

    execution_id: uuid.UUID
    unit_id: uuid.UUID
    suspension: Suspension
    opened: ImportedSuspension | None = None
    traceparent: str = NONE

    @property
    def interactions(self) -> Sequence[ImportedInteraction]:
        """The interactions that exist already."""
        return [] if self.opened is None else self.opened.interactions


def why_unanswerable(suspension: Suspension, opened: ImportedSuspension | None = None) -> str | None:
    """Return why the await can never be answered, or None if it can. An unanswerable execution fails and is not parked.

    A worker dispatches the interactions that it has `opened`, except those that it left WAITING.
    """
    interactions = [] if opened is None else opened.interactions
    if opened is None and suspension.transport not in FIRST_STATUS:
        return f"The await uses the transport {suspension.transport!r}, which this coordinator does not have"
    if not suspension.itemized and len(suspension.requests) != 1:
        return f"The await makes {len(suspension.requests)} requests, but only one of them could be answered"
    if suspension.step_index > HIGHEST_STEP:
        return "The await is at a step that no pipeline has"
    if not suspension.timeout_seconds <= LONGEST_WAIT.total_seconds():
        return "The await would wait for more than a hundred years"
    if len(suspension.output_type) > LONGEST_TYPE:
        return f"The await's output type has a name of more than {LONGEST_TYPE} characters"
    if not all(is_identifier(name) for name in _names(suspension, opened) if name):
        return f"Each name in the await {RULE}"
    if any("\x00" in text for text in chain(*suspension.transport_metadata.items())):
        return "The await's transport metadata contains a NUL character"
    if suspension.transport == TIMER and any(each.status != "WAITING" for each in interactions):
        return "The await is a timer that does not wait"
    if suspension.transport == WEBHOOK and not all(map(is_web_address, _urls(suspension, opened))):
        return "The await is sent as a webhook, but names no http or https URL to send it to"
    return None


def _names(suspension: Suspension, opened: ImportedSuspension | None) -> list[str | None]:
    names: list[str | None] = [suspension.step_id, suspension.output_type, suspension.assignee, suspension.group]
    if opened is not None:
        names += [opened.unit_name, suspension.transport]
        for each in opened.interactions:
            names += [each.worker_name, each.correlation_id, each.assignee, each.group, each.actor]
    return names


def _urls(suspension: Suspension, opened: ImportedSuspension | None) -> list[Any]:
    """Return the URLs to which the coordinator is to send the await's webhooks."""
    if opened is None:
        return [suspension.transport_metadata.get("url")]
    return [each.metadata.get("url") for each in opened.interactions if each.status == "WAITING"]


def correlation_id(tenant: str, execution_id: uuid.UUID, step_id: str, unit_id: uuid.UUID, item: int | None) -> str:
    """Return a name-based UUID (wire protocol F.1): equal arguments give equal ids."""
    name = f"{tenant}:{execution_id}:{step_id}:{unit_id}" + ("" if item is None else f":item={item}")
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


def park(tenant: Tenant, parkings: Sequence[Parking]) -> None:
    """Write the units and their interactions. Deadlines run from now by the database's clock.

    In the same transaction the caller has moved the executions to WAITING_EXTERNAL on these units, with the requests
    as progress, and `why_unanswerable` returned None (wire protocol E.10, F.3).

    An interaction that the worker opened keeps its id and deadline. If an interaction with its id exists, it was opened
    before and never changes; the new one gets a fresh id and its full timeout (wire protocol F.5). Correlation ids may
    repeat: `interactions` detects ambiguous ones.
    """
    opened = [each.id for parking in parkings for each in parking.interactions]
    known = set(Interaction.objects.filter(pk__in=opened).values_list("pk", flat=True)) if opened else set()
    ids = {(parking.unit_id, each.id): uuid.uuid4() if each.id in known else each.id
           for parking in parkings for each in parking.interactions}  # fmt: skip
    rows = [_unit(tenant, parking, ids) for parking in parkings]
    parameters: dict[str, Any] = {
        "tenant": tenant.pk,
        "webhook": WEBHOOK,
        "parkings": json.dumps(rows, ensure_ascii=False, default=str),
    }
    with prepared.cursor() as cursor:
        cursor.execute(statements.OPEN, parameters)
    for parking in parkings:
        _take_answers(parking, ids)
        if parking.traceparent:
            spans.suspended(parking.traceparent, parking.unit_id, parking.suspension.step_id)
    suspensions = [parking.suspension for parking in parkings]
    webhooks = sum(len(each.requests) for each in suspensions if each.transport == WEBHOOK)
    for _ in range(min(webhooks, MOST_SENDERS)):
        wakeup.send(SEND_TASK)
    for seconds in {each.timeout_seconds for each in suspensions if each.transport == TIMER}:
        wakeup.send_once(EXPIRE_TASK, delay=timedelta(seconds=seconds))


Ids = Mapping[tuple[uuid.UUID, uuid.UUID], uuid.UUID]
"""The id of each interaction, by its unit and the id that its worker chose."""


def _unit(tenant: Tenant, parking: Parking, ids: Ids) -> dict[str, Any]:
    """Return the unit and its interactions as `statements.OPEN` expects them."""
    suspension = parking.suspension
    return {
        "unit": parking.unit_id,
        "execution": parking.execution_id,
        "step": suspension.step_id,
        "index": suspension.step_index,
        "itemized": suspension.itemized,
        "many": suspension.gives_many,
        "items": len(suspension.requests),
        "name": None if parking.opened is None else parking.opened.unit_name,
        "traceparent": parking.traceparent or None,
        "transport": suspension.transport,
        "type": suspension.output_type,
        "seconds": suspension.timeout_seconds,
        **(_interactions(tenant, parking) if parking.opened is None else _opened_interactions(parking, ids)),
    }


def _interactions(tenant: Tenant, parking: Parking) -> dict[str, Any]:
    """Return the interactions that the coordinator opens, with what they have in common."""
    suspension = parking.suspension
    items = range(len(suspension.requests)) if suspension.itemized else [None]
    name = (tenant.slug, parking.execution_id, suspension.step_id, parking.unit_id)
    return {
        "metadata": suspension.transport_metadata,
        "assignee": suspension.assignee,
        "group": suspension.group,
        "status": FIRST_STATUS[suspension.transport].value,
        "interactions": [{"correlation": correlation_id(*name, item)} for item in items],
    }


def _opened_interactions(parking: Parking, ids: Ids) -> dict[str, Any]:
    """Return the interactions that the worker has opened. One that is answered already is opened like any other."""
    rows = []
    for each in parking.interactions:
        row_id = ids[parking.unit_id, each.id]
        is_new = row_id == each.id
        rows.append(
            {
                "id": row_id,
                "name": each.worker_name if is_new else None,
                "correlation": each.correlation_id,
                "metadata": each.metadata,
                "assignee": each.assignee,
                "group": each.group,
                "status": "DISPATCHED" if each.status == "COMPLETED" else each.status,
                "deadline": each.deadline if is_new else None,
            }
        )
    return {"interactions": rows}


def _take_answers(parking: Parking, ids: Ids) -> None:
    """Answer the interactions that the worker reported as answered, and resume the execution if these are all."""
    answers = [
        {
            "id": ids[parking.unit_id, each.id],
            "response": [json.loads(each.response or "null")],
            "actor": (each.actor or "worker")[:LONGEST_ACTOR],
        }
        for each in parking.interactions
        if each.status == "COMPLETED"
    ]
    if answers:
        with connection.cursor() as cursor:
            cursor.execute(statements.ANSWER_OPENED, {"answers": json.dumps(answers, ensure_ascii=False, default=str)})
        resume({parking.unit_id: len(answers)}, actor="worker")
