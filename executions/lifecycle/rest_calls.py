"""Calls REST workers with the commands of claimed executions, and records their outcomes.

The process that starts a call first changes the fencing token, so that a message that is delivered twice, or is forged,
has no effect. The lease outlives the call, and no transaction is open while the worker runs the transition.
"""

import logging
import time
import uuid
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import Error, connection, transaction

from coordinator_client.errors import Broken, NotConnected, NotSent, TimedOut
from executions import metrics
from executions.lifecycle import outcome, statements
from executions.models import Execution, Worker, WorkerEligibility
from executions.models.states import OUTCOME_UNKNOWN, State
from executions.spans import called
from executions.state_machine import moves
from executions.state_machine.moves import Move, owner
from executions.transports import rest_messages, rest_workers
from executions.transports.rest import CALL_TASK, blocked_reason, call, lease_seconds, may_call
from executions.transports.rest_messages import (
    NOT_CONNECTED,
    CallResult,
    Sent,
    command_of,
    failed,
    payload_of,
    result_of,
    steps_of,
)
from executions.workers.registry import DISPATCH_TASK, REST
from foundation import places, wakeup
from foundation.database.postgresql.outage import rejects_values
from foundation.database.writes import record_when_accepted
from foundation.exchange import TargetRefused, Unreachable
from foundation.telemetry import traces
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup, Span, transition_key
from wire.messages.payload_envelopes import PayloadRefused, TypedPayload, natural
from wire.messages.rest_messages import EXECUTE_PATH, READS_REPORTS
from wire.traceparent import NONE

log = logging.getLogger(__name__)
UNDECODABLE_PAYLOAD = "UNDECODABLE_PAYLOAD"
CALLER_LOST = "The process that called the REST worker ended, or lost the database, before it recorded the outcome"
REGISTERED_AGAIN = "the worker was registered again"

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 4.0


def run(execution_id: uuid.UUID, lease_token: uuid.UUID, waits: int = 0) -> bool:
    """Run one transition on the worker in whose name it is leased.

    Return False if the lease has changed, if the worker may not be called (the execution is then due again), or if no
    place is free. In the last case the lease is renewed and the message is sent again; `waits` counts how often.
    """
    tenant = Execution.objects.filter(pk=execution_id, lease_token=lease_token).values_list("tenant_id", flat=True)
    first = tenant.first()
    if first is None:
        log.info("The lease of %s was lost before its call", execution_id, extra={"execution": execution_id})
        return False
    with places.CALLS.hold(first, crowded=partial(_wait, execution_id, lease_token, waits)) as free:
        return free and _run(execution_id, lease_token)


def _wait(execution_id: uuid.UUID, lease_token: uuid.UUID, waits: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.EXTEND_CALL, {"id": execution_id, "token": lease_token, "lease": lease_seconds()})
        if cursor.rowcount == 0:
            return
    seconds = min(FIRST_WAIT_SECONDS * 2 ** min(waits, 10), LONGEST_WAIT_SECONDS)
    wakeup.send(CALL_TASK, str(execution_id), str(lease_token), waits + 1, delay=timedelta(seconds=seconds))


def _run(execution_id: uuid.UUID, lease_token: uuid.UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statements.START_CALL, {"id": execution_id, "token": lease_token, "lease": lease_seconds()})
        started = cursor.fetchone()
    if started is None:
        log.info("The lease of %s was lost before its call", execution_id, extra={"execution": execution_id})
        return False
    [token] = started
    execution = Execution.objects.select_related("tenant", "release__contract").get(pk=execution_id)
    if execution.lease_token != token or execution.lease_worker is None:
        return False
    host = WorkerEligibility.objects.select_related("worker").get(
        worker__tenant=execution.tenant_id,
        worker__pipeline_id=execution.pipeline_id,
        worker__worker_id=execution.lease_worker,
    )
    if refusal := _refusal(execution, host):
        _give_back(execution, token, refusal)
        return False
    begun = time.time()
    result = _traced_call(execution, token, host.worker)
    span = _ms(begun), _ms(time.time())
    record_when_accepted(lambda: _record(execution, host.worker, result, span))
    return True


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _refusal(execution: Execution, host: WorkerEligibility) -> str:
    """Return why the worker may not run the execution; empty if it may.

    The worker may have changed since the claim chose it. A worker whose endpoint is no longer allowed is blocked.
    """
    worker = host.worker
    if worker.protocol != REST or host.release_id != execution.release_id:
        return REGISTERED_AGAIN
    if not may_call(worker.endpoint):
        rest_workers.review_endpoint(worker, actor=owner())
        return blocked_reason(worker.endpoint)
    return host.reason or ""


def _give_back(execution: Execution, lease_token: uuid.UUID, reason: str) -> None:
    """Queue the execution again, due at once. The attempt does not count.

    The next claim reads the same view as `_refusal`, so it does not choose the same worker again.
    """
    move = Move(
        execution_id=execution.pk,
        version=execution.version,
        lease_token=lease_token,
        target=State.QUEUED,
        kind="DISPATCH_FAILED",
        actor=owner(),
        data={"reason": reason},
        step_index=execution.current_step_index,
        attempt=execution.attempt,
    )
    with transaction.atomic():
        moves.apply([move])
        wakeup.send_once(DISPATCH_TASK)


def _traced_call(execution: Execution, lease_token: uuid.UUID, worker: Worker) -> CallResult:
    """Make the call in a span. The outcome gets its context, because a REST worker does not report its own."""
    if not execution.traceparent:
        return _call(execution, lease_token, worker, NONE)
    span = called(execution)
    with traces.ended(span):
        result = _call(execution, lease_token, worker, span.traceparent)
        if result.outcome.failure is not None:
            span.fail(result.outcome.failure.failure_class)
    outcome = result.outcome.model_copy(update={"traceparent": span.traceparent})
    return replace(result, outcome=outcome)


def _call(execution: Execution, lease_token: uuid.UUID, worker: Worker, traceparent: str) -> CallResult:
    steps = steps_of(execution)
    count = None if steps is None else len(steps)
    try:
        command = command_of(execution, payload_of(execution))
    except PayloadRefused as error:
        sent = Sent(execution.pk, lease_token, command_of(execution, natural(None)), count)
        return failed(sent, UNDECODABLE_PAYLOAD, f"The payload cannot travel: {error}", retryable=False)
    sent = Sent(execution.pk, lease_token, command, count)
    try:
        answer = call(
            worker.endpoint,
            execution.tenant.slug,
            "POST",
            EXECUTE_PATH,
            command.to_json().encode(),
            is_wanted=partial(_is_held, execution.pk, lease_token),
            traceparent=traceparent,
            headers={READS_REPORTS: "1"},
        )
    except (NotConnected, NotSent, Unreachable, TargetRefused) as error:
        return failed(sent, NOT_CONNECTED, f"REST worker: {error}")
    except (TimedOut, Broken) as error:
        return failed(sent, OUTCOME_UNKNOWN, f"REST worker: {error}")
    return result_of(sent, answer, non_retryable=settings.REST_WORKER_NON_RETRYABLE)


def _is_held(execution_id: uuid.UUID, lease_token: uuid.UUID) -> bool:
    """Return False if the lease is lost. Runs in a separate thread, so it closes the thread's connection.

    An unavailable database does not end the call.
    """
    try:
        return Execution.objects.filter(pk=execution_id, lease_token=lease_token).exists()
    except Error:
        return True
    finally:
        connection.close()


def _record(execution: Execution, worker: Worker, result: CallResult, span: Span) -> None:
    """Record the outcome, and the outputs in the payloads in which they arrived, in one transaction.

    A REST worker reports no steps, so `span` is that of the call, and the artifact is the one that it registered. After
    a call without an outcome, nothing says whether the worker ran its code.
    """
    group = OutcomeGroup(
        worker_id=worker.worker_id,
        artifact_digest=worker.artifact_digest if result.reported else "",
        code="registered" if result.reported else None,
        outcomes=[result.outcome.model_copy(update={"span": span})],
    )
    with transaction.atomic():
        recorded = outcome.record(execution.pin, group, {} if result.opened is None else {execution.pk: result.opened})
        if recorded and result.outputs is not None:
            _store_outputs(execution, result.outputs, result.outcome.execution_version + 1)
        wakeup.send_once(DISPATCH_TASK)


def _store_outputs(execution: Execution, outputs: list[TypedPayload], version: int) -> None:
    """Store the original outputs. If they cannot be stored, the result is recorded without them."""
    try:
        with transaction.atomic():
            rest_messages.keep_result(execution.pk, outputs, version=version)
    except Error as error:
        if not rejects_values(error):
            raise
        log.exception(
            "The original payloads of execution %s could not be stored", execution.pk, extra={"execution": execution.pk}
        )


def end_lost() -> int:
    """Record an unknown outcome for calls whose lease has expired: the worker may have carried them out (ADR 74).

    Returns how many there were.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.LOST_CALLS, {"limit": settings.SWEEP_LIMIT})
        tokens = dict(cursor.fetchall())
    if not tokens:
        return 0
    lost = Execution.objects.select_related("tenant").defer("input", "progress", "result")
    groups = defaultdict[tuple[ReleaseIdentity, str], list[Outcome]](list)
    for execution in lost.filter(pk__in=tokens, lease_token__in=tokens.values()):
        unknown = _lost(execution, tokens[execution.pk])
        groups[execution.pin, str(execution.lease_worker)].append(unknown)
    ended = 0
    for (pin, worker_id), unknown_ones in groups.items():
        count = outcome.record(pin, OutcomeGroup(worker_id=worker_id, outcomes=unknown_ones))
        metrics.leases_lost.add(pin.tenant_id, pin.pipeline_id, pin.release_version, amount=count)
        ended += count
    return ended


def _lost(execution: Execution, lease_token: uuid.UUID) -> Outcome:
    failure = Failure(failure_class=OUTCOME_UNKNOWN, message=CALLER_LOST, retryable=False)
    return Outcome(
        execution_id=execution.pk,
        execution_version=execution.version,
        lease_token=lease_token,
        transition_key=transition_key(execution.pk, execution.current_step_index, execution.attempt),
        outcome="FAILED",
        failure=failure,
    )
