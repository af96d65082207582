"""The record of executions that failed for good, in the transaction of the failure (wire protocol E.6)."""

import logging
import uuid
from collections.abc import Collection
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from executions.models import DeadLetter
from executions.state_machine import statements
from tenancy.models import Tenant

log = logging.getLogger(__name__)


def write(execution_ids: Collection[uuid.UUID], reason: DeadLetter.Reason, *, retryable: bool) -> None:
    """Leave a dead letter for each of these that is FAILED or DLQ, as its row tells; once for each failure.

    After the commit one ERROR line each says so, in words for which operators' scripts search the log.
    """
    if not execution_ids:
        return
    parameters: dict[str, Any] = {"ids": list(execution_ids), "reason": reason.value, "retryable": retryable}
    with connection.cursor() as cursor:
        cursor.execute(statements.WRITE_DEAD_LETTERS, parameters)
        for row in cursor.fetchall():
            transaction.on_commit(partial(_tell, reason, retryable, *row))


def letters(tenant: Tenant) -> QuerySet[DeadLetter]:
    """The tenant's dead letters, newest first, each with its execution as that is by now."""
    rows = DeadLetter.objects.filter(tenant=tenant).select_related("execution__tenant")
    return rows.defer("execution__input", "execution__result", "execution__progress")


def _tell(
    reason: DeadLetter.Reason,
    retryable: bool,
    tenant: str,
    execution_id: uuid.UUID,
    transition_key: str,
    status: str,
    error: str,
    retries: int,
    transport: str,
    platform: str,
) -> None:
    log.error(
        "Execution moved to DLQ: tenant=%s execution=%s transition=%s status=%s reason=%s error=%s retryable=%s "
        "retriesObserved=%d transport=%s platform=%s",
        tenant,
        execution_id,
        transition_key,
        status,
        reason.value,
        _word(error),
        str(retryable).lower(),
        retries,
        _word(transport.upper()),
        _word(platform.upper()),
    )


def _word(text: str) -> str:
    """What others wrote, as one word: it can neither end the line nor pass for another member of it."""
    return "".join(character if character.isprintable() and character != " " else "_" for character in text)
