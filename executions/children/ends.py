"""Hands the ends of children over to their parents, and cancels the children of cancelled executions (ADR 129).

A trigger notes an end in the row of the execution, in the transaction that ends it. Here a process claims such rows for
some time. If it dies, they are due again. Every step changes nothing if it was done before.
"""

import logging
import uuid
from datetime import datetime
from typing import Any, Final

from django.db import Error, connection, transaction

from executions.awaits import answer_types, awaits, questions
from executions.awaits.awaits import Lost
from executions.children import statements
from executions.children.calls import Place
from executions.errors import CancelRefused, ExecutionChanged, ExecutionUnknown, RedriveRefused, VersionMismatch
from executions.lifecycle import interventions, queries
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from executions.models.states import State
from executions.state_machine.moves import FAMILY_TASK
from foundation import wakeup
from foundation.database.postgresql.outage import is_outage, rejects_values
from foundation.errors import CoordinatorError
from wire.documents.contract import CHILD

log = logging.getLogger(__name__)
LEASE_SECONDS: Final = 60
AT_ONCE: Final = 20
LONGEST_MESSAGE: Final = 500


def failed(code: str) -> Lost:
    """Return how a call that fails with this code ends the execution that made it."""
    return Lost(AwaitUnit.Status.FAILED, code, DeadLetter.Reason.AWAIT_FAILED)


CHILD_FAILED: Final = failed("CHILD_FAILED")
CHILD_REFUSED: Final = failed("CHILD_REFUSED")


def hand_over() -> int:
    """Tell relatives of the ends that have been due for longest. Return how many ends there were.

    Any number of processes may do this at once. An error leaves its end due after LEASE_SECONDS.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM, {"lease": LEASE_SECONDS, "limit": AT_ONCE})
        claimed: list[tuple[uuid.UUID, datetime]] = cursor.fetchall()
    if len(claimed) == AT_ONCE:
        wakeup.send(FAMILY_TASK)
    for execution_id, until in claimed:
        try:
            _hand_over(execution_id)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("The end of execution %s could not be handed over", execution_id)
            continue
        with connection.cursor() as cursor:
            cursor.execute(statements.DONE, {"id": execution_id, "claimed": until})
    return len(claimed)


def _hand_over(execution_id: uuid.UUID) -> None:
    ended = Execution.objects.select_related("tenant").filter(pk=execution_id, finished_at__isnull=False).first()
    if ended is None:
        return
    if ended.status == State.CANCELLED:
        _cancel_children(ended)
    if ended.parent_id is not None and (asking := _asking(ended)) is not None:
        deliver(asking, ended)


def _cancel_children(parent: Execution) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.OPEN_CHILDREN, [parent.pk])
        children = [pk for (pk,) in cursor.fetchall()]
    for pk in children:
        try:
            reason = f"Execution {parent.pk}, which called it, was cancelled."
            interventions.cancel(parent.tenant, pk, actor=actor_of(parent), reason=reason)
        except (CancelRefused, ExecutionUnknown) as refusal:  # it has ended meanwhile
            log.info("Child %s was not cancelled: %s", pk, refusal.detail)


def _asking(child: Execution) -> Interaction | None:
    """Return the question that waits for a child; None if none does."""
    place = Place.of_child(child)
    rows = Interaction.objects.filter(
        execution=child.parent_id,
        transport=CHILD,
        status__in=Interaction.OPEN,
        step_index=place.step_index,
        item_index=place.item_index,
    )
    related = ("unit", "execution__release__pipeline", "execution__release__contract")
    asking = rows.select_related(*related).only(*questions.ANSWERED, "created_at").first()
    if asking is not None:
        asking.tenant = child.tenant
    return asking


def deliver(asking: Interaction, child: Execution) -> None:
    """Answer a question with the result of its child, which has ended, or fail its execution.

    A child that failed before the question was asked failed for an earlier one, after which the parent was re-driven:
    it is re-driven. Changes nothing if the question is closed. After its deadline, it is timed out.
    """
    is_earlier = child.finished_at is not None and child.finished_at < asking.created_at
    if is_earlier and child.status in (State.FAILED, State.DLQ):
        _redrive(asking, child)
        return
    response, problem = None, _problem(child)
    if not problem:
        response = queries.result(child)
        mistakes = answer_types.problems(asking, response)
        problem = "; ".join(f"{mistake['field']}: {mistake['message']}" for mistake in mistakes[:3])
        problem = problem and f"{_named(child)} has a result of another type: {problem}"
    if problem:
        fail(asking, CHILD_FAILED, problem, actor=actor_of(child))
        return
    try:
        _answer(asking, response, actor_of(child))
    except Error as error:
        if not rejects_values(error):
            raise
        log.exception("The result of execution %s answers no call", child.pk)
        problem = f"The database rejects the result of {_named(child)}, or all results of the step together"
        fail(asking, CHILD_FAILED, problem, actor=actor_of(child))


def _answer(asking: Interaction, response: Any, actor: str) -> None:
    with transaction.atomic():
        if _is_open(asking):
            questions.record_answer(asking, response, actor, None, None)
            awaits.resume({asking.unit_id: 1}, actor=actor, with_requests=questions.with_request(asking))


def _redrive(asking: Interaction, child: Execution) -> None:
    """Re-drive a child, unless the question is closed or the child has changed since it was read."""
    reason = f"Execution {asking.execution_id}, which called it, was re-driven."
    actor = actor_of(asking.execution)
    try:
        with transaction.atomic():  # a parent that is cancelled meanwhile waits, and then cancels the child
            if _is_open(asking):
                version, tenant = child.version, asking.tenant
                interventions.redrive(
                    tenant, child.pk, actor=actor, reason=reason, expected_version=version, allow_failed=True
                )
    except (ExecutionChanged, RedriveRefused, VersionMismatch):
        log.info("Child %s was re-driven by another process", child.pk)
    except CoordinatorError as refusal:
        fail(asking, CHILD_REFUSED, f"{refusal.code}: {refusal.detail}", actor=CHILD)


def fail(asking: Interaction, lost: Lost, problem: str, *, actor: str) -> None:
    """Fail a question, its unit and its execution. Changes nothing if the question is closed."""
    parameters: dict[str, Any] = {"id": asking.pk, "error": problem[:300]}
    with transaction.atomic():
        if _is_open(asking):
            with connection.cursor() as cursor:
                cursor.execute(statements.FAIL, parameters)
            awaits.fail(lost, {asking.unit_id: problem[:LONGEST_MESSAGE]}, actor=actor)


def _is_open(asking: Interaction) -> bool:
    """Lock the question. Time it out if its deadline has passed."""
    locked = questions.lock(asking)
    if locked.status not in Interaction.OPEN:
        return False
    if locked.late:
        awaits.time_out([asking.execution_id], actor=CHILD)
    return not locked.late


def _problem(child: Execution) -> str:
    """Return why a child has no result; empty if it has one. In a row of calls, it names the first that failed."""
    if child.status == State.SUCCEEDED:
        return ""
    if child.error_code == CHILD_FAILED.code and child.error_message:
        return child.error_message
    error = f": {child.error_code}: {child.error_message}" if child.error_code else ""
    return f"{_named(child)} is {child.status}{error}"


def _named(child: Execution) -> str:
    return f"Child {child.pk} of pipeline {child.pipeline_id}"


def actor_of(execution: Execution) -> str:
    """Return the name under which an execution acts on its relatives."""
    return f"execution:{execution.pk}"
