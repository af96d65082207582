"""Dead letters: the records of terminal failures, written in the transaction of the failure."""

import logging
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from executions import metrics
from executions.models import DeadLetter
from executions.state_machine import statements
from tenancy.models import Tenant
from wire.log_lines import EACH
from wire.traceparent import NONE, trace_id

log = logging.getLogger(__name__)
UNKNOWN = "UNKNOWN"
"""What the log line says if the contract does not name a transport or a platform."""


def write(reasons: Mapping[uuid.UUID, DeadLetter.Reason]) -> None:
    """Write a dead letter for each of these executions that is FAILED or DLQ; once for each failure.

    A transaction calls this once, for all of its failures: new failure groups are locked in the order of their ids only
    within one statement. After the commit, one ERROR line is logged for each. Operators' scripts search the log for its
    words.
    """
    if not reasons:
        return
    parameters: dict[str, Any] = {
        "ids": list(reasons),
        "reasons": [reason.value for reason in reasons.values()],
        "retryable": [reason.value for reason in DeadLetter.Reason if reason.is_retryable],
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.WRITE_DEAD_LETTERS, parameters)
        for row in cursor.fetchall():
            transaction.on_commit(partial(_announce, *row))


def letters(tenant: Tenant) -> QuerySet[DeadLetter]:
    """Return the tenant's dead letters, newest first, each with the current state of its execution."""
    return DeadLetter.objects.filter(tenant=tenant).with_executions()


def _announce(
    reason: str,
    retryable: bool,
    tenant: str,
    execution_id: uuid.UUID,
    transition_key: str,
    status: str,
    error: str,
    retries: int,
    transport: str,
    platform: str,
    traceparent: str | None,
    pipeline_id: str,
    release_version: str,
) -> None:
    metrics.dead_letters.add(tenant, pipeline_id, release_version, reason)
    metrics.finished.add(tenant, pipeline_id, release_version, status)
    log.error(
        "Execution moved to DLQ: tenant=%s execution=%s transition=%s status=%s reason=%s error=%s retryable=%s "
        "retriesObserved=%d transport=%s platform=%s",
        tenant,
        execution_id,
        transition_key,
        status,
        reason,
        _word(error),
        str(retryable).lower(),
        retries,
        _word(transport.strip().upper() or UNKNOWN),
        _word(platform.strip().upper() or UNKNOWN),
        extra={
            "tenant": tenant,
            "execution": execution_id,
            "attempt": retries,
            "traceId": trace_id(traceparent or NONE),
            **EACH,
        },
    )


def _word(text: str) -> str:
    """Return text of unknown origin as one word, which can neither end the line nor look like another field of it."""
    return "".join(character if character.isprintable() and character != " " else "_" for character in text)
