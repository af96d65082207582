"""Keeps the interactions that a worker opened by itself, under the ids that it gave them (wire protocol F.3)."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.functions import TransactionNow
from django.db import connection
from django.db.models import JSONField, Value
from django.utils import timezone

from executions.models import Interaction
from tenancy.models import Tenant
from wire.identifying import RULE, is_identifier
from wire.messages.suspension import ImportedInteraction, ImportedSuspension

WEBHOOK, TIMER = "webhook", "timer"
WAITING, DISPATCHED, COMPLETED = "WAITING", "DISPATCHED", "COMPLETED"
BATCH = 1000


def why_unanswerable(suspension: ImportedSuspension) -> str | None:
    """Why nobody could ever answer this; None where somebody can.

    The worker sends out what it asks. What it left WAITING is sent by the coordinator, which has to know how.
    """
    metadata = [each.metadata for each in suspension.interactions]
    texts: list[str | None] = [suspension.unit_name, suspension.step_id, suspension.output_type, suspension.transport]
    for each in suspension.interactions:
        texts += [each.worker_name, each.correlation_id, each.assignee, each.group, each.actor]
    if not all(is_identifier(text) for text in texts if text):
        return f"Each name in the await {RULE}"
    if len(suspension.output_type) > 500:
        return "The await's output type has a name of more than 500 characters"
    waiting = any(each.status == WAITING for each in suspension.interactions)
    if suspension.transport == TIMER and not all(each.status == WAITING for each in suspension.interactions):
        return "The await is a timer that does not wait"
    if suspension.transport == WEBHOOK and waiting and not all(_is_web_address(each.get("url")) for each in metadata):
        return "The await is sent as a webhook, but names no http or https URL to send it to"
    return None


def _is_web_address(url: Any) -> bool:
    return isinstance(url, str) and url.startswith(("http://", "https://"))


def keep(tenant: Tenant, execution_id: uuid.UUID, unit_id: uuid.UUID, suspension: ImportedSuspension) -> int:
    """Write the interactions. Return how many of them are answered already.

    An interaction whose id exists was opened before. The stored one never changes, so the new one gets a fresh id and
    its full timeout (wire protocol F.5). Correlation ids may repeat: `interactions` detects ambiguous ones.
    """
    asked = suspension.interactions
    taken = set(Interaction.objects.filter(pk__in=[each.id for each in asked]).values_list("pk", flat=True))
    rows = [
        _row(tenant, execution_id, unit_id, suspension, each, request, place, each.id in taken)
        for place, (each, request) in enumerate(zip(asked, suspension.requests, strict=True))
    ]
    Interaction.objects.bulk_create(rows, batch_size=BATCH)
    answers = [_answer(row.pk, each) for row, each in zip(rows, asked, strict=True) if each.status == COMPLETED]
    if answers:
        with connection.cursor() as cursor:
            cursor.execute(_ANSWER, {"answers": json.dumps(answers, ensure_ascii=False)})
    return len(answers)


# An interaction that its worker has already answered is opened first and then answered like any other.
_ANSWER = """
UPDATE executions_interaction i SET status = 'COMPLETED', response = a.response -> 0, actor = a.actor,
    completed_at = now(), version = version + 1
FROM json_to_recordset(%(answers)s::json) AS a(id uuid, response jsonb, actor text) WHERE i.id = a.id
"""


def _answer(interaction_id: uuid.UUID, each: ImportedInteraction) -> dict[str, Any]:
    response = json.loads(each.response or "null")
    return {"id": str(interaction_id), "response": [response], "actor": (each.actor or "worker")[:200]}


def _row(
    tenant: Tenant,
    execution_id: uuid.UUID,
    unit_id: uuid.UUID,
    suspension: ImportedSuspension,
    each: ImportedInteraction,
    request: str,
    place: int,
    taken: bool,
) -> Interaction:
    now: Any = TransactionNow()
    return Interaction(
        id=uuid.uuid4() if taken else each.id,
        worker_name=None if taken else each.worker_name,
        tenant=tenant,
        unit_id=unit_id,
        execution_id=execution_id,
        step_id=suspension.step_id,
        step_index=suspension.step_index,
        item_index=place if suspension.itemized else None,
        correlation_id=each.correlation_id,
        transport=suspension.transport,
        transport_metadata=each.metadata,
        request=_json(request),
        output_type=suspension.output_type,
        assignee=each.assignee,
        group=each.group,
        status=DISPATCHED if each.status == COMPLETED else each.status,
        deadline=_deadline(suspension, each, taken),
        next_dispatch_at=now if suspension.transport == WEBHOOK and each.status == WAITING else None,
    )


def _deadline(suspension: ImportedSuspension, each: ImportedInteraction, taken: bool) -> datetime:
    return timezone.now() + timedelta(seconds=suspension.timeout_seconds) if taken else each.deadline


def _json(text: str) -> Any:
    """JSON's null is not the database's."""
    value = json.loads(text)
    return Value(None, JSONField()) if value is None else value
