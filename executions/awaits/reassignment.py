"""Names other recipients of an open question. The caller has checked access to the tenant."""

import uuid
from typing import Any

from django.db import connection, transaction

from executions.awaits import awaits, claims, recipients, statements
from executions.awaits.questions import get_question
from executions.awaits.recipients import Addressees
from executions.errors import RecipientUnknown
from executions.models import Interaction
from executions.state_machine import moves
from foundation.errors import InvalidRequest
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

EVENT = "QUESTION_REASSIGNED"


def reassign(
    tenant: Tenant, question_id: uuid.UUID, *, actor: str, reason: str, assignee: str | None, group: str | None
) -> Interaction:
    """Replace the recipients of an open question, and end its claim and its delegation.

    Writes an event of the question, and one of the execution. Raises `QuestionUnknown`, `InvalidRequest` without
    a reason or without recipients, `RecipientUnknown` if no member who may answer has the user name or the group, and
    `QuestionClosed`.
    """
    question, to = get_question(tenant, question_id), Addressees(assignee or None, group or None)
    reason = reason.strip()
    if not reason:
        raise _missing("reason", "A reassignment needs a reason.")
    if not any(to):
        raise _missing("assignee", "A reassignment needs an assignee or a group.")
    if not recipients.is_known(tenant, to):
        raise RecipientUnknown("No member whose role may answer has this user name or this group.", **to._asdict())
    with transaction.atomic():
        claims.lock_open(question)
        change: dict[str, Any] = {**to._asdict(), "before": recipients.addressees(question)._asdict()}
        parameters: dict[str, Any] = {
            **to._asdict(),
            "id": question.pk,
            "open": awaits.OPEN,
            "actor": actor,
            "reason": reason,
        }
        with connection.cursor() as cursor:
            cursor.execute(statements.REASSIGN, parameters)
        data = {"questionId": str(question.pk), "interactionId": str(question.pk), "reason": reason, **change}
        moves.note(EVENT, [moves.Note(question.execution_id, actor, data)])
        audit.record(
            Act.INTERACTION_REASSIGN,
            tenant=tenant,
            actor=actor,
            object=question.pk,
            reason=reason,
            executionId=str(question.execution_id),
            **change,
        )
    return get_question(tenant, question.pk)


def _missing(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, errors=[{"field": field, "code": "REQUIRED", "message": message}])
