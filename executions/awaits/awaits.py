"""Opens and closes awaits, with the move that parks their execution or ends its wait.

The lock of an execution is the lock of its awaits: every change of a unit or a question locks the execution's row
first, then the unit's, then the questions'. So two last answers at once, an answer and a deadline, or an answer and
a cancellation never deadlock, and every answer is counted.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

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
from foundation.database import prepared
from tenancy.models import Tenant
from wire.addresses import is_web_address
from wire.documents.contract import AUTOMATIC, CHILD, TIMER
from wire.identity import RULE, is_identifier
from wire.messages.celery_messages import LONGEST_TYPE, LONGEST_WAIT, Suspension
from wire.messages.suspension import ImportedInteraction, ImportedSuspension
from wire.resume_token import ResumeToken, derived
from wire.traceparent import NONE

EXPIRE_TASK = "executions.expire_awaits"
SEND_TASK = "executions.send_webhooks"
CALL_TASK = "executions.call_children"
INTERACTION_API, WEBHOOK = "interaction-api", "webhook"
OPEN = [status.value for status in Interaction.OPEN]
FIRST_STATUS = {
    INTERACTION_API: Interaction.Status.DISPATCHED,
    WEBHOOK: Interaction.Status.WAITING,
    TIMER: Interaction.Status.WAITING,
    CHILD: Interaction.Status.WAITING,
}
HIGHEST_STEP = 2**31 - 2  # the step after it must be a number that its column holds
MOST_SENDERS = 8
LONGEST_ACTOR = 200


# --- resume tokens ---------------------------------------------------------------------------------


def resume_secrets() -> list[str]:
    """Return the secrets that verify resume tokens. The first one signs new tokens."""
    secrets = [settings.RESUME_TOKEN_SECRET, *settings.RESUME_TOKEN_SECRET_FALLBACKS]
    roots = [settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS]
    return [*filter(None, secrets), *(derived(root, "resume-token") for root in roots)]


def resume_token_of(question: Interaction, *, issued_at: datetime) -> ResumeToken:
    """Return the token that answers a question. It is not signed."""
    return ResumeToken(
        tenant_id=question.tenant.slug,
        interaction_id=question.known_as,
        correlation_id=question.correlation_id,
        execution_id=str(question.execution_id),
        step_id=question.step_id,
        deadline_epoch_ms=epoch_ms(question.deadline),
        issued_at_epoch_ms=epoch_ms(issued_at),
    )


def epoch_ms(moment: datetime) -> int:
    """Return a time in milliseconds since 1970, as messages have it."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- opening --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parking:
    """An execution that reached an await, and the unit that is to be opened for it.

    `opened` is what the worker has opened itself: the unit under its name, and a question for each request. If it
    is None, the coordinator opens a question for each request. `traceparent` is the context of the suspended run,
    empty if it is not traced.
    """

    execution_id: uuid.UUID
    unit_id: uuid.UUID
    suspension: Suspension
    opened: ImportedSuspension | None = None
    traceparent: str = NONE

    @property
    def questions(self) -> Sequence[ImportedInteraction]:
        """The questions that exist already."""
        return [] if self.opened is None else self.opened.interactions


def why_unanswerable(suspension: Suspension, opened: ImportedSuspension | None = None) -> str | None:
    """Return why the await can never be answered, or None if it can. An unanswerable execution fails and is not parked.

    A worker dispatches the questions that it has `opened`, except those that it left WAITING.
    """
    questions = [] if opened is None else opened.interactions
    names = [suspension.step_id, suspension.output_type, suspension.assignee, suspension.group]
    urls = [suspension.transport_metadata.get("url")]
    if opened is not None:
        names += [opened.unit_name, suspension.transport]
        urls = [question.metadata.get("url") for question in questions if question.status == "WAITING"]
    for question in questions:
        names += [question.worker_name, question.correlation_id, question.assignee, question.group, question.actor]
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
    if not all(is_identifier(name) for name in names if name):
        return f"Each name in the await {RULE}"
    if any("\x00" in text for text in chain(*suspension.transport_metadata.items())):
        return "The await's transport metadata contains a NUL character"
    if suspension.transport in AUTOMATIC and any(question.status != "WAITING" for question in questions):
        return f"The await over the transport {suspension.transport!r} does not wait"
    if suspension.transport == WEBHOOK and not all(map(is_web_address, urls)):
        return "The await is sent as a webhook, but names no http or https URL to send it to"
    return None


def correlation_id(tenant: str, execution_id: uuid.UUID, step_id: str, unit_id: uuid.UUID, item: int | None) -> str:
    """Return a name-based UUID: equal arguments give equal ids."""
    name = f"{tenant}:{execution_id}:{step_id}:{unit_id}" + ("" if item is None else f":item={item}")
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


def park(tenant: Tenant, parkings: Sequence[Parking]) -> None:
    """Write the units and their questions. Deadlines run from now by the database's clock.

    In the same transaction the caller has moved the executions to WAITING_EXTERNAL on these units, with the requests
    as progress, and `why_unanswerable` returned None.

    A question that the worker opened keeps its id and deadline. If a question with its id exists, it was opened
    before and never changes; the new one gets a fresh id and its full timeout. Correlation ids may
    repeat: `named_by_correlation` detects ambiguous ones.
    """
    opened = [question.id for parking in parkings for question in parking.questions]
    known = set(Interaction.objects.filter(pk__in=opened).values_list("pk", flat=True)) if opened else set()
    ids = {(parking.unit_id, question.id): uuid.uuid4() if question.id in known else question.id
           for parking in parkings for question in parking.questions}  # fmt: skip
    rows = [_unit(tenant, parking, ids) for parking in parkings]
    parameters: dict[str, Any] = {
        "tenant": tenant.pk,
        "parkings": json.dumps(rows, ensure_ascii=False, default=str),
    }
    with prepared.cursor() as cursor:
        cursor.execute(statements.OPEN, parameters)
    for parking in parkings:
        _take_answers(parking, ids)
        if parking.traceparent:
            spans.suspended(parking.traceparent, parking.unit_id)
    suspensions = [parking.suspension for parking in parkings]
    webhooks = sum(len(suspension.requests) for suspension in suspensions if suspension.transport == WEBHOOK)
    for _ in range(min(webhooks, MOST_SENDERS)):
        wakeup.send(SEND_TASK)
    for suspension in suspensions:
        if suspension.transport == CHILD:
            wakeup.send(CALL_TASK)
            break
    for seconds in {suspension.timeout_seconds for suspension in suspensions if suspension.transport == TIMER}:
        wakeup.send_once(EXPIRE_TASK, delay=timedelta(seconds=seconds))


Ids = Mapping[tuple[uuid.UUID, uuid.UUID], uuid.UUID]
"""The id of each question, by its unit and the id that its worker chose."""


def _unit(tenant: Tenant, parking: Parking, ids: Ids) -> dict[str, Any]:
    """Return the unit and its questions as `statements.OPEN` expects them."""
    suspension, opened = parking.suspension, parking.opened
    unit = {
        "unit": parking.unit_id,
        "execution": parking.execution_id,
        "step": suspension.step_id,
        "index": suspension.step_index,
        "itemized": suspension.itemized,
        "many": suspension.gives_many,
        "items": len(suspension.requests),
        "name": None if opened is None else opened.unit_name,
        "traceparent": parking.traceparent or None,
        "transport": suspension.transport,
        "type": suspension.output_type,
        "seconds": suspension.timeout_seconds,
    }
    if opened is not None:
        rows = [
            _opened_question(interaction, ids[parking.unit_id, interaction.id]) for interaction in opened.interactions
        ]
        return unit | {"questions": rows}
    items = range(len(suspension.requests)) if suspension.itemized else [None]
    name = (tenant.slug, parking.execution_id, suspension.step_id, parking.unit_id)
    return unit | {
        "metadata": suspension.transport_metadata,
        "assignee": suspension.assignee,
        "group": suspension.group,
        "status": FIRST_STATUS[suspension.transport].value,
        "questions": [{"correlation": correlation_id(*name, item)} for item in items],
    }


def _opened_question(opened: ImportedInteraction, row_id: uuid.UUID) -> dict[str, Any]:
    """Return a question that the worker has opened. One that is answered already is opened like any other."""
    is_new = row_id == opened.id
    return {
        "id": row_id,
        "name": opened.worker_name if is_new else None,
        "correlation": opened.correlation_id,
        "metadata": opened.metadata,
        "assignee": opened.assignee,
        "group": opened.group,
        "status": "DISPATCHED" if opened.status == "COMPLETED" else opened.status,
        "deadline": opened.deadline if is_new else None,
    }


def _take_answers(parking: Parking, ids: Ids) -> None:
    """Answer the questions that the worker reported as answered, and resume the execution if these are all."""
    answers = [
        {
            "id": ids[parking.unit_id, question.id],
            "response": [json.loads(question.response or "null")],
            "actor": (question.actor or "worker")[:LONGEST_ACTOR],
        }
        for question in parking.questions
        if question.status == "COMPLETED"
    ]
    if answers:
        with connection.cursor() as cursor:
            cursor.execute(statements.ANSWER_OPENED, {"answers": json.dumps(answers, ensure_ascii=False, default=str)})
        resume({parking.unit_id: len(answers)}, actor="worker")  # steps of other authors take no requests


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


def resume(answers: Mapping[uuid.UUID, int], *, actor: str, with_requests: bool = False) -> int:
    """Count the new answers of units, and resume the executions whose units are complete. Return how many resume.

    `answers` is the number of new answers of each unit. The caller has locked the executions. The next transition
    starts from the one answer, or from the list of all answers in the order of their items; `with_requests` from each
    answer with its request, as the coordinator stored it (ADR 118). The answers of a unit are read only when it is
    complete.
    """
    if not any(answers.values()):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(statements.COUNT_ANSWERS, {"units": list(answers), "answers": list(answers.values())})
        complete = [unit for is_complete, *unit in cursor.fetchall() if is_complete]
        if not complete:
            return 0
        read = statements.REQUESTS_AND_RESPONSES if with_requests else statements.RESPONSES
        cursor.execute(read, {"units": [unit_id for unit_id, *_ in complete]})
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
                progress_shape="MULTI" if itemized or (many and not with_requests) else "UNI",
            )
            for unit_id, execution_id, step_index, itemized, many, *_ in complete
        ]
    )
    for unit_id, *_, traceparent, since in complete:
        if traceparent:
            spans.over(traceparent, unit_id, since=since)
    if resumed:
        wakeup.send_once(DISPATCH_TASK)
    return len(resumed)


def fail(lost: Lost, messages: Mapping[uuid.UUID, str], *, actor: str) -> None:
    """Close units that lost a question, and fail the executions that wait for them, with a dead letter for each.

    `messages` is the error message for each unit. The other open questions of a unit are cancelled. The caller has
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
    for unit_id, *_, traceparent, since in units:
        if traceparent:
            spans.over(traceparent, unit_id, since=since, error_class=lost.code)
    dead_letters.write({move.execution_id: lost.reason for move in failed})


def cancel(execution_ids: Collection[uuid.UUID]) -> int:
    """Cancel the open units and questions of these executions. Return how many units were open.

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


def expire() -> int:
    """Complete the timers that are past their deadline, and fail all other late awaits with AWAIT_TIMEOUT.

    Handles at most SWEEP_LIMIT questions, the earliest deadline first. Any number of processes
    may call this at once: each skips what another has locked. Returns how many executions were handled.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.LOCK_LATE, {"open": OPEN, "limit": settings.SWEEP_LIMIT})
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
    messages = {unit_id: f"Question {question_id} was not answered in time" for unit_id, question_id in late.items()}
    fail(TIMED_OUT, messages, actor=actor)
