"""Closes awaits, with the move that ends the wait of their execution (wire protocol F).

The lock of an execution is the lock of its awaits: every change of a unit or an interaction locks the execution's row
first, then the unit's, then the interactions'. So two last answers at once, an answer and a deadline, or an answer and
a cancellation never deadlock, and every answer is counted.
"""

import json
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from executions import spans
from executions.awaits import statements
from executions.models import AwaitUnit, DeadLetter, Interaction
from executions.models.states import State
from executions.state_machine import dead_letters, moves
from executions.state_machine.moves import Move, owner
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from wire.documents.contract import TIMER
from wire.resume_token import ResumeToken, derived

EXPIRE_TASK = "executions.expire_awaits"
SEND_TASK = "executions.send_webhooks"
INTERACTION_API, WEBHOOK = "interaction-api", "webhook"
OPEN = [status.value for status in Interaction.OPEN]


# --- resume tokens ---------------------------------------------------------------------------------


def resume_secrets() -> list[str]:
    """Return the secrets that verify resume tokens. The first one signs new tokens."""
    own = [settings.RESUME_TOKEN_SECRET, *settings.RESUME_TOKEN_SECRET_FALLBACKS]
    roots = [settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS]
    return [*filter(None, own), *(derived(root, "resume-token") for root in roots)]


def resume_token_of(interaction: Interaction, *, issued_at: datetime) -> ResumeToken:
    """Return the token that answers an interaction (wire protocol F.8). It is not signed."""
    return ResumeToken(
        tenant_id=interaction.tenant.slug,
        interaction_id=interaction.known_as,
        correlation_id=interaction.correlation_id,
        execution_id=str(interaction.execution_id),
        step_id=interaction.step_id,
        deadline_epoch_ms=epoch_ms(interaction.deadline),
        issued_at_epoch_ms=epoch_ms(issued_at),
    )


def epoch_ms(moment: datetime) -> int:
    """Return a time in milliseconds since 1970, as the wire protocol writes it."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- closing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lost:
    """A reason why an await will never be answered, and how it ends the unit and the execution."""

    unit_status: AwaitUnit.Status
    code: str
    reason: DeadLetter.Reason


TIMED_OUT = Lost(AwaitUnit.Status.TIMED_OUT, "AWAIT_TIMEOUT", DeadLetter.Reason.AWAIT_TIMEOUT)
UNDELIVERABLE = Lost(AwaitUnit.Status.FAILED, "WEBHOOK_UNDELIVERABLE", DeadLetter.Reason.AWAIT_FAILED)


def lock(execution_id: uuid.UUID, unit_id: uuid.UUID) -> None:
    """Lock an execution and its unit until the transaction ends, always in this order."""
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_EXECUTION, [execution_id])
        cursor.execute(statements.LOCK_UNIT, [unit_id])


def resume(answers: Mapping[uuid.UUID, int], *, actor: str) -> int:
    """Count the new answers of units, and resume the executions whose units are complete. Return how many resume.

    `answers` is the number of new answers of each unit. The caller has locked the executions. The next transition
    starts from the one answer, or from the list of all answers in the order of their items. The answers of a unit are
    read only when it is complete.
    """
    if not any(answers.values()):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(statements.COUNT_ANSWERS, {"units": list(answers), "answers": list(answers.values())})
        complete = [unit for is_complete, *unit in cursor.fetchall() if is_complete]
        if not complete:
            return 0
        cursor.execute(statements.RESPONSES, {"units": [unit_id for unit_id, *_ in complete]})
        responses = {unit_id: json.loads(text) for unit_id, text in cursor.fetchall()}
    resumed = moves.apply(
        [
            Move(
                execution_id=execution_id,
                source=State.WAITING_EXTERNAL,
                target=State.QUEUED,
                kind="AWAIT_COMPLETED",
                actor=actor,
                data={"unitId": str(unit_id), "stepIndex": step_index, "answers": len(responses[unit_id])},
                await_unit=unit_id,
                step_index=step_index + 1,
                progress=responses[unit_id] if itemized else responses[unit_id][0],
                progress_shape="MULTI" if itemized or many else "UNI",
            )
            for unit_id, execution_id, step_index, itemized, many, *_ in complete
        ]
    )
    for unit_id, *_, step_id, traceparent, since in complete:
        if traceparent:
            spans.over(traceparent, unit_id, step_id, since=since)
    if resumed:
        wakeup.send_once(DISPATCH_TASK)
    return len(resumed)


def fail(lost: Lost, messages: Mapping[uuid.UUID, str], *, actor: str) -> None:
    """Close units that lost an interaction, and fail the executions that wait for them, with a dead letter for each.

    `messages` is the error message for each unit. The other open interactions of a unit are cancelled. The caller has
    locked the executions.
    """
    if not messages:
        return
    with connection.cursor() as cursor:
        cursor.execute(statements.CLOSE_UNITS, {"status": lost.unit_status.value, "units": list(messages)})
        units = cursor.fetchall()
        cancelled = Interaction.Status.CANCELLED.value
        cursor.execute(statements.CLOSE_INTERACTIONS, {"status": cancelled, "units": list(messages), "open": OPEN})
    failed = moves.apply(
        [
            Move(
                execution_id=execution_id,
                source=State.WAITING_EXTERNAL,
                target=State.FAILED,
                kind=lost.code,
                actor=actor,
                data={
                    "unitId": str(unit_id),
                    "stepIndex": step_index,
                    "errorCode": lost.code,
                    "errorMessage": messages[unit_id],
                },
                await_unit=unit_id,
                error_code=lost.code,
                error_message=messages[unit_id],
            )
            for unit_id, execution_id, step_index, *_ in units
        ]
    )
    for unit_id, *_, step_id, traceparent, since in units:
        if traceparent:
            spans.over(traceparent, unit_id, step_id, since=since, error_class=lost.code)
    dead_letters.write({move.execution_id: lost.reason for move in failed})


def cancel(execution_ids: Collection[uuid.UUID]) -> int:
    """Cancel the open units and interactions of these executions. Return how many units were open.

    The caller has moved the executions to CANCELLED in the same transaction, which also locked them.
    """
    cancelled = AwaitUnit.Status.CANCELLED.value
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_OPEN_UNITS, [list(execution_ids)])
        units = [unit_id for (unit_id,) in cursor.fetchall()]
        cursor.execute(statements.CLOSE_UNITS, {"status": cancelled, "units": units})
        cursor.execute(statements.CLOSE_INTERACTIONS, {"status": cancelled, "units": units, "open": OPEN})
    return len(units)


# --- deadlines -------------------------------------------------------------------------------------


def expire(*, limit: int | None = None) -> int:
    """Complete the timers that are past their deadline, and fail all other late awaits with AWAIT_TIMEOUT (F.5).

    Handles at most `limit` interactions, SWEEP_LIMIT by default, the earliest deadline first. Any number of processes
    may call this at once: each skips what another has locked. Returns how many executions were handled.
    """
    limit = settings.SWEEP_LIMIT if limit is None else limit
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.LOCK_LATE, {"open": OPEN, "limit": limit})
            locked = sorted({execution_id for (execution_id,) in cursor.fetchall()})
            if not locked:
                return 0
            cursor.execute(statements.COMPLETE_TIMERS, {"held": locked, "open": OPEN, "timer": TIMER})
            completed = Counter(unit_id for (unit_id,) in cursor.fetchall())
        time_out(locked, actor=owner())
        resume(completed, actor=TIMER)
    return len(locked)


def time_out(execution_ids: Collection[uuid.UUID], *, actor: str) -> None:
    """Fail those of these executions that wait for an answer past its deadline. The caller has locked them."""
    with connection.cursor() as cursor:
        cursor.execute(statements.TIME_OUT, {"held": list(execution_ids), "open": OPEN, "timer": TIMER})
        late = dict(cursor.fetchall())
    messages = {unit_id: f"Await interaction timed out: {interaction_id}" for unit_id, interaction_id in late.items()}
    fail(TIMED_OUT, messages, actor=actor)
