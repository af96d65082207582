"""Submits the children that waiting executions call (ADR 129).

The question of a call is WAITING, then DISPATCHING during a numbered attempt, then DISPATCHED. The child is an
ordinary submission with a key that follows from its place, so a repeated attempt finds the child of an earlier one.
"""

import logging
import random
import uuid
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection

from executions import spans
from executions.awaits import statements as await_statements
from executions.awaits.awaits import CALL_TASK
from executions.children import ends, statements
from executions.children.calls import Call, Place, call_of
from executions.errors import (
    IdempotencyKeyReused,
    InputInvalid,
    ReleaseNotAdmitted,
    TenantNotAllowed,
)
from executions.models import Interaction
from executions.submission.requests import Start
from executions.submission.submission import ExecutionRequest, submit
from foundation import wakeup
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError, InvalidRequest, PayloadTooLarge
from releases.errors import PipelineUnknown, ReleaseNotOpen, ReleaseUnknown
from releases.states import PENDING
from wire.documents.contract import CHILD
from wire.retry import RetryPolicy

log = logging.getLogger(__name__)
LEASE_SECONDS: Final = 60
DEEPEST: Final = 16
"""How many executions may be above a child. The database refuses deeper ones, too."""
CHILD_TOO_DEEP: Final = ends.failed("CHILD_TOO_DEEP")
_PERMANENT: Final = (
    IdempotencyKeyReused,
    InputInvalid,
    InvalidRequest,
    PayloadTooLarge,
    PipelineUnknown,
    ReleaseUnknown,
    TenantNotAllowed,
)


def call_next() -> bool:
    """Submit the child of the call that has been due for longest. Return False if none is due.

    Any number of processes may do this at once. If one dies, its call is due again after LEASE_SECONDS.
    """
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {"webhook": CHILD, "lease": LEASE_SECONDS, "full": []}
        cursor.execute(await_statements.CLAIM_WEBHOOK, parameters)
        claimed: tuple[uuid.UUID, int] | None = cursor.fetchone()
    if claimed is None:
        return False
    wakeup.send(CALL_TASK)
    related = ("tenant", "unit", "execution__release__pipeline", "execution__release__contract")
    question = Interaction.objects.select_related(*related).get(pk=claimed[0])
    try:
        _call(question)
    except CoordinatorError as refusal:
        _refused(question, refusal)
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("The call of question %s failed", question.pk)
    return True


def _call(question: Interaction) -> None:
    """Submit the child, or find the one of an earlier attempt. Raises what `submit` raises."""
    parent, call = question.execution, call_of(question.execution, question.step_index)
    if call is None:
        ends.fail(question, ends.CHILD_REFUSED, "The contract names no pipeline for this step", actor=CHILD)
        return
    if _ancestors(parent.pk) >= DEEPEST:
        text = f"The child {call} would have more than {DEEPEST} executions above it"
        ends.fail(question, CHILD_TOO_DEEP, text, actor=CHILD)
        return
    with spans.calling(question.unit.traceparent, question.unit_id):
        child = submit(question.tenant, _request(question, call), actor=parent.submitted_by).execution
    if child.parent_id != parent.pk:
        text = f"The key {child.execution_key!r} belongs to execution {child.pk}, which is no child"
        ends.fail(question, ends.CHILD_REFUSED, text, actor=CHILD)
        return
    if child.finished_at is not None:
        ends.deliver(question, child)
    _end_attempt(question, Interaction.Status.DISPATCHED)


def _request(question: Interaction, call: Call) -> ExecutionRequest:
    priority = question.execution.priority
    return ExecutionRequest(
        call.pipeline_id,
        question.request,
        Place.of(question).key,
        release_version=call.release_version,
        start=None if priority is None else Start(priority=priority),
        parent_id=question.execution_id,
    )


def _ancestors(execution_id: uuid.UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statements.ANCESTORS, [execution_id])
        return int(cursor.fetchone()[0])


def _refused(question: Interaction, refusal: CoordinatorError) -> None:
    """Fail the execution if no later attempt can succeed. Otherwise note why it waits, and try again later."""
    text = f"{refusal.code}: {refusal.detail}"
    if _is_permanent(refusal):
        ends.fail(question, ends.CHILD_REFUSED, text, actor=CHILD)
        return
    policy = RetryPolicy(10**6, timedelta(seconds=2), 2.0, timedelta(minutes=5), settings.RETRY_JITTER)
    wait = policy.wait(question.dispatch_attempts, random.random)
    if _end_attempt(question, Interaction.Status.WAITING, text[:300], wait) and wait is not None:
        wakeup.send(CALL_TASK, delay=wait)


def _is_permanent(refusal: CoordinatorError) -> bool:
    if isinstance(refusal, ReleaseNotOpen):
        return not refusal.may_open
    if isinstance(refusal, ReleaseNotAdmitted):
        return refusal.data.get("releaseStatus") not in PENDING
    return isinstance(refusal, _PERMANENT)


def _end_attempt(
    question: Interaction, status: Interaction.Status, error: str = "", wait: timedelta | None = None
) -> bool:
    """Return False if the question was closed, or if a newer attempt has started."""
    parameters: dict[str, Any] = {
        "id": question.pk,
        "attempt": question.dispatch_attempts,
        "status": status.value,
        "error": error,
        "wait": wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(await_statements.RECORD_ATTEMPT, parameters)
        return bool(cursor.rowcount)
