"""Awaits: opened with the move that parks an execution, closed with the move that takes it on (wire protocol F).

The lock of an execution is the lock of its awaits: whoever closes a unit or an interaction holds the execution's row
first, then the unit's, then the interactions'. So two last answers at once, an answer and a deadline, or an answer and
a cancellation wait for each other in a line and never in a circle, and no answer is left that nobody counts.
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

from executions.awaits import imported_awaits
from executions.lifecycle import dead_letters, moves
from executions.lifecycle.moves import Move, owner
from executions.lifecycle.states import State
from executions.models import AwaitUnit, DeadLetter, Interaction
from executions.workers.registry import DISPATCH_TASK
from foundation.database import prepared
from foundation.wakeups import wakeup
from tenancy.models import Tenant
from wire.identifying import RULE, is_identifier
from wire.messages.celery_messages import LONGEST_TYPE, LONGEST_WAIT, Suspension
from wire.messages.suspension import ImportedSuspension
from wire.resume_token import ResumeToken, derived
from wire.web_address import is_web_address

EXPIRE_TASK = "executions.expire_awaits"
SEND_TASK = "executions.send_webhooks"
INTERACTION_API, WEBHOOK, TIMER = "interaction-api", "webhook", "timer"
FIRST_STATUS = {
    INTERACTION_API: Interaction.Status.DISPATCHED,
    WEBHOOK: Interaction.Status.WAITING,
    TIMER: Interaction.Status.WAITING,
}
HIGHEST_STEP = 2**31 - 2  # the step after it must be a number that its column holds
MOST_SENDERS = 8
OPEN = [status.value for status in Interaction.OPEN]


# --- opening --------------------------------------------------------------------------------------


def why_unanswerable(suspension: Suspension) -> str | None:
    """Why nobody could ever answer this; None where somebody can. Such an execution fails and is not parked."""
    if isinstance(suspension, ImportedSuspension):
        return imported_awaits.why_unanswerable(suspension)
    if suspension.transport not in FIRST_STATUS:
        return f"The await uses the transport {suspension.transport!r}, which this coordinator does not have"
    if not suspension.itemized and len(suspension.requests) != 1:
        return f"The await asks {len(suspension.requests)} times where one answer would do; nobody could answer it"
    if suspension.transport == WEBHOOK and not is_web_address(suspension.transport_metadata.get("url", "")):
        return "The await is sent as a webhook, but names no http or https URL to send it to"
    if suspension.step_index > HIGHEST_STEP:
        return "The await is at a step that no pipeline has"
    if not suspension.timeout_seconds <= LONGEST_WAIT.total_seconds():
        return "The await would wait for more than a hundred years"
    if len(suspension.output_type) > LONGEST_TYPE:
        return f"The await's output type has a name of more than {LONGEST_TYPE} characters"
    names = [suspension.step_id, suspension.output_type, suspension.assignee, suspension.group]
    if not all(is_identifier(name) for name in names if name):
        return f"Each name in the await {RULE}"
    if any("\x00" in text for text in chain(*suspension.transport_metadata.items())):
        return "The await names something with a character that cannot be kept"
    return None


def correlation_id(tenant: str, execution_id: uuid.UUID, step_id: str, unit_id: uuid.UUID, item: int | None) -> str:
    """A name-based UUID (wire protocol F.1), the same however often it is asked for."""
    name = f"{tenant}:{execution_id}:{step_id}:{unit_id}" + ("" if item is None else f":item={item}")
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


@dataclass(frozen=True, slots=True)
class Parking:
    """An execution that reached an await, and the unit that is to be opened for it."""

    execution_id: uuid.UUID
    unit_id: uuid.UUID
    suspension: Suspension


# The requests of a unit are the progress of its execution already, so the database copies them from there: a unit of
# 100,000 items is opened without sending its requests again. Interactions that a worker opened have no correlations.
_OPEN = """
WITH parked AS (
    SELECT * FROM json_to_recordset(%(parkings)s::json) AS p(
        unit uuid, execution uuid, step text, index int, itemized bool, many bool, items int, name text,
        correlations json, transport text, metadata jsonb, type text, assignee text, "group" text, status text,
        seconds float)
), opened AS (
    INSERT INTO executions_awaitunit (id, tenant_id, execution_id, step_id, step_index, itemized, gives_many,
        expected_items, worker_name)
    SELECT unit, %(tenant)s, execution, step, index, itemized, many, items, name
    FROM parked
)
INSERT INTO executions_interaction (id, tenant_id, unit_id, execution_id, step_id, step_index, item_index,
    correlation_id, transport, transport_metadata, request, output_type, assignee, "group", status, version, deadline,
    dispatch_attempts, next_dispatch_at, last_dispatch_error)
SELECT gen_random_uuid(), %(tenant)s, p.unit, p.execution, p.step, p.index, CASE WHEN p.itemized THEN i.place - 1 END,
    i.correlation, p.transport, p.metadata, i.request, p.type, p.assignee, p."group", p.status, 0,
    now() + make_interval(secs => p.seconds), 0, CASE WHEN p.transport = %(webhook)s THEN now() END, ''
FROM parked p JOIN executions_execution e ON e.id = p.execution
CROSS JOIN LATERAL ROWS FROM (
    json_array_elements_text(p.correlations),
    jsonb_array_elements(CASE WHEN p.itemized THEN e.progress ELSE jsonb_build_array(e.progress) END)
) WITH ORDINALITY AS i(correlation, request, place)
WHERE p.correlations IS NOT NULL
"""


def park(tenant: Tenant, parkings: Sequence[Parking]) -> None:
    """Write the units and their interactions; deadlines run from now by the database's clock.

    The caller has moved the executions to WAITING_EXTERNAL on these units in this same transaction, with the requests
    as progress, and `why_unanswerable` knew no reason not to (wire protocol E.10, F.3).
    """
    parameters: dict[str, Any] = {
        "tenant": tenant.pk,
        "webhook": WEBHOOK,
        "parkings": json.dumps([_as_row(tenant, parking) for parking in parkings], ensure_ascii=False, default=str),
    }
    with prepared.cursor() as cursor:
        cursor.execute(_OPEN, parameters)
    for parking in parkings:
        if isinstance(parking.suspension, ImportedSuspension):
            answered = imported_awaits.keep(tenant, parking.execution_id, parking.unit_id, parking.suspension)
            resume({parking.unit_id: answered}, actor="worker")
    suspensions = [parking.suspension for parking in parkings]
    sent = sum(len(each.requests) for each in suspensions if each.transport == WEBHOOK)
    for _ in range(min(sent, MOST_SENDERS)):
        wakeup.send(SEND_TASK)
    for seconds in {each.timeout_seconds for each in suspensions if each.transport == TIMER}:
        wakeup.send_once(EXPIRE_TASK, delay=timedelta(seconds=seconds))


def _as_row(tenant: Tenant, parking: Parking) -> dict[str, Any]:
    suspension = parking.suspension
    row = {
        "unit": parking.unit_id,
        "execution": parking.execution_id,
        "step": suspension.step_id,
        "index": suspension.step_index,
        "itemized": suspension.itemized,
        "many": suspension.gives_many,
        "items": len(suspension.requests),
    }
    if isinstance(suspension, ImportedSuspension):
        return {**row, "name": suspension.unit_name}
    items = range(len(suspension.requests)) if suspension.itemized else [None]
    name = (tenant.slug, parking.execution_id, suspension.step_id, parking.unit_id)
    return {
        **row,
        "correlations": [correlation_id(*name, item) for item in items],
        "transport": suspension.transport,
        "metadata": suspension.transport_metadata,
        "type": suspension.output_type,
        "assignee": suspension.assignee,
        "group": suspension.group,
        "status": FIRST_STATUS[suspension.transport].value,
        "seconds": suspension.timeout_seconds,
    }


def resume_secrets() -> list[str]:
    """Return the secrets that verify resume tokens. The first one signs new tokens."""
    own = [settings.RESUME_TOKEN_SECRET, *settings.RESUME_TOKEN_SECRET_FALLBACKS]
    roots = [settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS]
    return [*filter(None, own), *(derived(root, "resume-token") for root in roots)]


def resume_token_of(interaction: Interaction, *, issued_at: datetime) -> ResumeToken:
    """The token that answers an interaction (wire protocol F.8), not signed yet."""
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
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- closing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lost:
    """Why an await will never be answered, and what becomes of its unit and execution."""

    unit_status: AwaitUnit.Status
    code: str
    reason: DeadLetter.Reason
    retryable: bool


TIMED_OUT = Lost(AwaitUnit.Status.TIMED_OUT, "AWAIT_TIMEOUT", DeadLetter.Reason.AWAIT_TIMEOUT, retryable=False)
UNDELIVERABLE = Lost(AwaitUnit.Status.FAILED, "WEBHOOK_UNDELIVERABLE", DeadLetter.Reason.AWAIT_FAILED, retryable=True)


def lock(execution_id: uuid.UUID, unit_id: uuid.UUID) -> None:
    """Hold an execution and its unit until the transaction ends, in the one order in which they are locked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", [execution_id])
        cursor.execute("SELECT FROM executions_awaitunit WHERE id = %s FOR UPDATE", [unit_id])


_COUNT = """
UPDATE executions_awaitunit u SET answered_items = u.answered_items + a.answers, updated_at = now(),
    status = CASE WHEN u.answered_items + a.answers = u.expected_items THEN 'COMPLETED' ELSE u.status END
FROM unnest(%(units)s::uuid[], %(answers)s::int[]) AS a(id, answers)
WHERE u.id = a.id AND u.status = 'WAITING_EXTERNAL'
RETURNING u.status = 'COMPLETED', u.id, u.execution_id, u.step_index, u.itemized, u.gives_many
"""
_RESPONSES = """
SELECT unit_id, jsonb_agg(response ORDER BY item_index)::text FROM executions_interaction
WHERE unit_id = ANY(%(units)s) AND status = 'COMPLETED' GROUP BY unit_id
"""


def resume(answers: Mapping[uuid.UUID, int], *, actor: str) -> int:
    """Count the new answers of units, and resume the executions whose units are complete. Return how many resume.

    The rows of the executions are held. The next transition starts from the answer: the one, or the list of all in the
    order of their items. Only then are the answers of a unit read.
    """
    if not any(answers.values()):
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"units": list(answers), "answers": list(answers.values())})
        complete = [unit for is_complete, *unit in cursor.fetchall() if is_complete]
        if not complete:
            return 0
        cursor.execute(_RESPONSES, {"units": [unit_id for unit_id, *_ in complete]})
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
            for unit_id, execution_id, step_index, itemized, many in complete
        ]
    )
    if resumed:
        wakeup.send_once(DISPATCH_TASK)
    return len(resumed)


_CLOSE_UNITS = """
UPDATE executions_awaitunit SET status = %(status)s, updated_at = now()
WHERE id = ANY(%(units)s) AND status = 'WAITING_EXTERNAL'
RETURNING id, execution_id, step_index
"""
_CLOSE_INTERACTIONS = """
UPDATE executions_interaction SET status = %(status)s, version = version + 1, next_dispatch_at = NULL,
    updated_at = now()
WHERE unit_id = ANY(%(units)s) AND status = ANY(%(open)s)
"""


def fail(lost: Lost, messages: Mapping[uuid.UUID, str], *, actor: str) -> None:
    """End units that lost an interaction, by unit id with what to tell, and the executions that wait for them.

    What else a unit still asks is cancelled. The rows of the executions are held.
    """
    if not messages:
        return
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE_UNITS, {"status": lost.unit_status.value, "units": list(messages)})
        units = cursor.fetchall()
        cancelled = Interaction.Status.CANCELLED.value
        cursor.execute(_CLOSE_INTERACTIONS, {"status": cancelled, "units": list(messages), "open": OPEN})
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
            for unit_id, execution_id, step_index in units
        ]
    )
    dead_letters.write([move.execution_id for move in failed], lost.reason, retryable=lost.retryable)


def cancel(execution_ids: Collection[uuid.UUID]) -> int:
    """Withdraw whatever these executions still ask; returns how many units were open.

    For use after the move to CANCELLED, in its transaction: the executions' rows are held by it.
    """
    cancelled = AwaitUnit.Status.CANCELLED.value
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM executions_awaitunit WHERE execution_id = ANY(%s) AND status = 'WAITING_EXTERNAL' "
            "ORDER BY id FOR UPDATE",
            [list(execution_ids)],
        )
        units = [unit_id for (unit_id,) in cursor.fetchall()]
        cursor.execute(_CLOSE_UNITS, {"status": cancelled, "units": units})
        cursor.execute(_CLOSE_INTERACTIONS, {"status": cancelled, "units": units, "open": OPEN})
    return len(units)


# --- the passing of time --------------------------------------------------------------------------

_HOLD_LATE = """
SELECT e.id FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
WHERE i.status = ANY(%(open)s) AND i.deadline <= now()
ORDER BY i.deadline, i.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
"""
_RUN_OUT = """
UPDATE executions_interaction SET status = 'COMPLETED', response = request, actor = %(timer)s, completed_at = now(),
    version = version + 1, updated_at = now()
WHERE execution_id = ANY(%(held)s) AND status = ANY(%(open)s) AND deadline <= now() AND transport = %(timer)s
RETURNING unit_id
"""
_TIME_OUT = """
WITH late AS (
    UPDATE executions_interaction SET status = 'TIMED_OUT', version = version + 1, next_dispatch_at = NULL,
        updated_at = now()
    WHERE execution_id = ANY(%(held)s) AND status = ANY(%(open)s) AND deadline <= clock_timestamp()
        AND transport <> %(timer)s
    RETURNING id, unit_id, deadline
)
SELECT DISTINCT ON (unit_id) unit_id, id FROM late ORDER BY unit_id, deadline, id
"""


def expire(*, limit: int | None = None) -> int:
    """See to what is past its deadline, earliest first: timers go on, all others fail with AWAIT_TIMEOUT (F.5).

    At most `limit` interactions (SWEEP_LIMIT unless told); any number may call at once, each takes what no other holds.
    Returns how many executions were looked at.
    """
    limit = settings.SWEEP_LIMIT if limit is None else limit
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_HOLD_LATE, {"open": OPEN, "limit": limit})
            held = sorted({execution_id for (execution_id,) in cursor.fetchall()})
            if not held:
                return 0
            cursor.execute(_RUN_OUT, {"held": held, "open": OPEN, "timer": TIMER})
            run_out = Counter(unit_id for (unit_id,) in cursor.fetchall())
        time_out(held, actor=owner())
        resume(run_out, actor=TIMER)
    return len(held)


def time_out(held: Collection[uuid.UUID], *, actor: str) -> None:
    """Fail those of these executions, whose rows are held, that wait for an answer past its deadline."""
    with connection.cursor() as cursor:
        cursor.execute(_TIME_OUT, {"held": list(held), "open": OPEN, "timer": TIMER})
        late = dict(cursor.fetchall())
    messages = {unit_id: f"Await interaction timed out: {interaction_id}" for unit_id, interaction_id in late.items()}
    fail(TIMED_OUT, messages, actor=actor)
