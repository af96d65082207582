"""Sends the webhooks of questions, until their receivers accept them.

A question is WAITING, then DISPATCHING during a numbered attempt, then DISPATCHED. The result of an attempt is
ignored if the question was answered, or a newer attempt has started.
"""

import json
import uuid
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from executions import metrics
from executions.awaits import awaits, statements
from executions.awaits.awaits import SEND_TASK, WEBHOOK, epoch_ms
from executions.models import Interaction
from executions.state_machine.moves import owner
from foundation.exchange import Resolve
from outbox.outbox import Failure, Message, Outbox, Receipt, post, signed, webhook_keys
from wire.retry import LONGEST_RETRY_DELAY

RESUME_PATH = "/api/v1/resume"


def _is_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statements.ANY_WEBHOOK_DUE, {"webhook": WEBHOOK})
        [is_due] = cursor.fetchone()
    return bool(is_due)


def _load(claimed: uuid.UUID) -> Message:
    question = Interaction.objects.select_related("tenant").get(pk=claimed)
    return Message(
        name=f"Webhook of question {claimed}",
        attempt=question.dispatch_attempts,
        most_attempts=settings.WEBHOOK_ATTEMPTS,
        error=question.last_dispatch_error,
        send=lambda resolve: _post(question, resolve),
        record=lambda receipt: _record(question, receipt),
    )


OUTBOX: Final = Outbox(
    task=SEND_TASK,
    claim=statements.CLAIM_WEBHOOK,
    parameters={"webhook": WEBHOOK},
    is_due=_is_due,
    load=_load,
    longest_delay=LONGEST_RETRY_DELAY,
)


def message(question: Interaction) -> dict[str, Any]:
    """Return the body of the webhook, with the token that answers the question."""
    token = awaits.resume_token_of(question, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    members: dict[str, Any] = {
        "tenantId": question.tenant.slug,
        "interactionId": question.known_as,
        "correlationId": question.correlation_id,
        "resumeToken": token,
        "executionId": str(question.execution_id),
        "stepId": question.step_id,
        "outputType": question.output_type,
        "deadlineEpochMs": epoch_ms(question.deadline),
        "requestPayload": question.request,
    }
    if settings.PUBLIC_URL:
        members["callback"] = {"completionUrl": settings.PUBLIC_URL + RESUME_PATH}
    return members


def _post(question: Interaction, resolve: Resolve) -> Failure | None:
    tenant, result = question.tenant.slug, "failed"
    try:
        body = json.dumps(message(question), ensure_ascii=False).encode()
        failure = post(
            question.transport_metadata["url"],
            body,
            signed(body, webhook_keys(tenant)),
            message_id=str(question.pk),
            resolve=resolve,
            names_receiver=True,
        )
        result = "failed" if failure else "delivered"
    finally:
        metrics.webhooks.add(tenant, result)
    return failure


def _record(question: Interaction, receipt: Receipt) -> None:
    if receipt.error and receipt.wait is None:
        _give_up(question, receipt)
        return
    status = Interaction.Status.WAITING if receipt.error else Interaction.Status.DISPATCHED
    _end_attempt(question, status, receipt)


def _give_up(question: Interaction, receipt: Receipt) -> None:
    """Fail the question, its unit and its execution, unless it was answered or sent again in the meantime."""
    message = f"Webhook of question {question.pk} could not be delivered: {receipt.error}"
    with transaction.atomic():
        awaits.lock(question.execution_id, question.unit_id)
        if _end_attempt(question, Interaction.Status.FAILED, receipt):
            awaits.fail(awaits.UNDELIVERABLE, {question.unit_id: message[:500]}, actor=owner())


def _end_attempt(question: Interaction, status: Interaction.Status, receipt: Receipt) -> bool:
    """Return False if the question was closed, or if a newer attempt has started."""
    parameters: dict[str, Any] = {
        "id": question.pk,
        "attempt": question.dispatch_attempts,
        "status": status.value,
        "error": receipt.error,
        "wait": receipt.wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD_ATTEMPT, parameters)
        return bool(cursor.rowcount)
