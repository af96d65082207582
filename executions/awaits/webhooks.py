"""Sends the webhooks of interactions, with retries, until their receivers accept them (wire protocol F.8).

An interaction is WAITING, then DISPATCHING during a numbered attempt, then DISPATCHED. An attempt is leased for the
time that one may take; if its process dies, the webhook is due again. No transaction is open while a webhook is sent.
The result of an attempt is ignored if the interaction was answered, or a newer attempt has started.
"""

import hashlib
import hmac
import json
import logging
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from executions import metrics
from executions.awaits import awaits, statements
from executions.awaits.awaits import SEND_TASK, WEBHOOK, epoch_ms
from executions.models import Interaction
from executions.state_machine.moves import owner
from executions.state_machine.retry import RetryPolicy
from foundation.database.in_hand import record_in_hand
from foundation.http import address_guard
from foundation.http.address_guard import Resolve, TargetRefused, Unreachable
from foundation.http.exchange import Broken, NotConnected, TimedOut, exchange
from foundation.scheduling import places
from foundation.wakeups import wakeup
from releases.models.policy import LONGEST_RETRY_DELAY
from wire.resume_token import derived

log = logging.getLogger(__name__)
SIGNATURE_HEADER = "X-Coordinator-Signature"
RESUME_PATH = "/api/v1/resume"
MARGIN_SECONDS = 5
NO_PLACE_DELAY = timedelta(seconds=2)
LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    final: bool


def sending_seconds() -> int:
    """Return how long one attempt may take: to connect to each address, and to wait for the response."""
    return int(settings.WEBHOOK_TIMEOUT_SECONDS * (address_guard.MOST_ADDRESSES + 1)) + MARGIN_SECONDS


def webhook_keys(tenant_id: str) -> list[str]:
    """Return the keys that sign the tenant's webhooks, one for each active secret, that of WORKER_SECRET first."""
    roots = (settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS)
    return [derived(root, f"webhook:{tenant_id}") for root in roots]


def signature(keys: Iterable[str], moment: int, body: bytes) -> str:
    """Return the value of SIGNATURE_HEADER: epoch seconds, and one signature for each key.

    A signature is HMAC-SHA256 in hexadecimal over the seconds, a dot, and the body.
    """
    signed = f"{moment}.".encode() + body
    signatures = (hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys)
    return ",".join([f"t={moment}", *(f"v1={each}" for each in signatures)])


def send(*, resolve: Resolve = address_guard.resolve) -> bool:
    """Send the webhook that has been due for longest, and announce the next one.

    Return False if none is due. Webhooks of tenants whose receivers occupy all their places wait for a free place.
    """
    with places.WEBHOOKS.take(_claim, crowded=_send_later) as claimed:
        if claimed is not None:
            _send(claimed, resolve)
    if claimed is not None:
        wakeup.send(SEND_TASK)
    return claimed is not None


def _send_later() -> None:
    if due_exists():
        wakeup.send_once(SEND_TASK, delay=NO_PLACE_DELAY)


def _send(claimed: uuid.UUID, resolve: Resolve) -> None:
    interaction = Interaction.objects.select_related("tenant").get(pk=claimed)
    if interaction.dispatch_attempts > settings.WEBHOOK_ATTEMPTS:
        # The processes of the last attempts died.
        _give_up(interaction, _Failure(interaction.last_dispatch_error or "no attempt was completed", final=True))
    else:
        failure = _attempt(interaction, resolve)
        metrics.webhooks.add(interaction.tenant.slug, "delivered" if failure is None else "failed")
        record_in_hand(lambda: _received(interaction) if failure is None else _not_received(interaction, failure))


def due_exists() -> bool:
    """Return True if a webhook is due that no message may have announced."""
    with connection.cursor() as cursor:
        cursor.execute(statements.ANY_WEBHOOK_DUE, {"webhook": WEBHOOK})
        [found] = cursor.fetchone()
    return bool(found)


def _claim(full: list[int]) -> tuple[uuid.UUID, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            statements.CLAIM_WEBHOOK, {"webhook": WEBHOOK, "lease": sending_seconds() + MARGIN_SECONDS, "full": full}
        )
        row: tuple[uuid.UUID, int] | None = cursor.fetchone()
    return row


def _attempt(interaction: Interaction, resolve: Resolve) -> _Failure | None:
    try:
        status = _post(interaction, resolve)
    except TargetRefused as error:
        return _Failure(str(error), final=True)
    except TimedOut:
        return _Failure("the receiver took too long to respond", final=False)
    except NotConnected as error:
        return _Failure(f"no connection to the receiver: {error}", final=False)
    except (Unreachable, Broken) as error:
        return _Failure(str(error), final=False)
    except Exception as error:
        # The attempt has failed, and the next one may succeed.
        log.exception("Sending interaction %s failed", interaction.pk)
        return _Failure(f"an internal error ({type(error).__name__})", final=False)
    if 200 <= status < 300:
        return None
    return _Failure(f"the receiver responded with status {status}", final=False)


def _post(interaction: Interaction, resolve: Resolve) -> int:
    """Send the webhook and return the status of the response. The response body is not read."""
    body = json.dumps(message(interaction), ensure_ascii=False).encode()
    now = int(timezone.now().timestamp())
    target = address_guard.vet(
        interaction.transport_metadata["url"], allowed=settings.WEBHOOK_ALLOWED_NETWORKS, resolve=resolve
    )
    response = exchange(
        target,
        "POST",
        body,
        headers={
            "Content-Type": "application/json",
            "User-Agent": "durable-coordinator",
            "Idempotency-Key": str(interaction.pk),
            SIGNATURE_HEADER: signature(webhook_keys(interaction.tenant.slug), now, body),
        },
        connect_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
        seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
        limit=None,
        ca_file=settings.WEBHOOK_CA_FILE,
    )
    return response.status


def message(interaction: Interaction) -> dict[str, Any]:
    """Return the body of the webhook (wire protocol F.8), with the token that answers the interaction."""
    token = awaits.resume_token_of(interaction, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    members: dict[str, Any] = {
        "tenantId": interaction.tenant.slug,
        "interactionId": interaction.known_as,
        "correlationId": interaction.correlation_id,
        "resumeToken": token,
        "executionId": str(interaction.execution_id),
        "stepId": interaction.step_id,
        "outputType": interaction.output_type,
        "deadlineEpochMs": epoch_ms(interaction.deadline),
        "requestPayload": interaction.request,
    }
    if settings.PUBLIC_URL:
        members["callback"] = {"completionUrl": settings.PUBLIC_URL + RESUME_PATH}
    return members


def _record(interaction: Interaction, status: Interaction.Status, error: str, wait: timedelta | None) -> None:
    parameters: dict[str, Any] = {
        "id": interaction.pk,
        "attempt": interaction.dispatch_attempts,
        "status": status.value,
        "error": error[:LONGEST_ERROR],
        "wait": wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD_ATTEMPT, parameters)


def _received(interaction: Interaction) -> None:
    _record(interaction, Interaction.Status.DISPATCHED, "", None)


def _not_received(interaction: Interaction, failure: _Failure) -> None:
    policy = RetryPolicy(
        limit=settings.WEBHOOK_ATTEMPTS - 1,
        delay=timedelta(seconds=settings.WEBHOOK_DELAY_SECONDS),
        multiplier=2.0,
        cap=LONGEST_RETRY_DELAY,
        jitter=settings.RETRY_JITTER,
    )
    wait = None if failure.final else policy.wait(interaction.dispatch_attempts, random.random)
    if wait is None:
        _give_up(interaction, failure)
        return
    log.warning("Webhook of interaction %s was not accepted: %s", interaction.pk, failure.reason)
    _record(interaction, Interaction.Status.WAITING, failure.reason, wait)
    wakeup.send(SEND_TASK, delay=wait)


def _give_up(interaction: Interaction, failure: _Failure) -> None:
    """Fail the interaction, its unit and its execution, unless it was answered or sent again in the meantime."""
    message = f"Webhook of interaction {interaction.pk} could not be delivered: {failure.reason}"
    parameters: dict[str, Any] = {
        "id": interaction.pk,
        "attempt": interaction.dispatch_attempts,
        "error": failure.reason[:LONGEST_ERROR],
    }
    with transaction.atomic():
        awaits.lock(interaction.execution_id, interaction.unit_id)
        with connection.cursor() as cursor:
            cursor.execute(statements.FAIL_WEBHOOK, parameters)
            if cursor.rowcount == 0:
                return
        awaits.fail(awaits.UNDELIVERABLE, {interaction.unit_id: message[:500]}, actor=owner())
