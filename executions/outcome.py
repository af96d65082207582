"""Records what workers answer: under version and fencing token, and dropped where the lease is lost."""

import json
import logging
import math
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from coordinator import bell
from coordinator.tenancy.models import Tenant
from executions import moves
from executions.models import Execution
from executions.moves import LeasedMove
from executions.protocol import Failure, Outcome, OutcomeGroup
from executions.retry import RetryPolicy
from executions.states import State
from executions.worker_registry import DISPATCH_TASK
from releases.identity import ReleaseIdentity

log = logging.getLogger(__name__)
LONGEST_MESSAGE = 512
LONGEST_CODE = 100
DEEPEST = 500


def retry_policy() -> RetryPolicy:
    return RetryPolicy(
        limit=settings.RETRY_LIMIT,
        delay=timedelta(seconds=settings.RETRY_DELAY_SECONDS),
        multiplier=settings.RETRY_MULTIPLIER,
        jitter=settings.RETRY_JITTER,
    )


def record(tenant: Tenant, identity: ReleaseIdentity, group: OutcomeGroup) -> int:
    """Commit a group of outcomes in one transaction and ring for what comes next. Returns how many were recorded.

    An outcome counts only for an execution of this tenant that is pinned to this very release, and only under the
    lease it was given. Any other is dropped, and an event says so.
    """
    outcomes = {(outcome.execution_id, outcome.lease_token): outcome for outcome in group.outcomes}.values()
    with transaction.atomic():
        known = {
            row.pk: row
            for row in Execution.objects.filter(
                pk__in=[outcome.execution_id for outcome in outcomes],
                tenant=tenant,
                pipeline_id=identity.pipeline_id,
                contract_version=identity.contract_version,
                release_version=identity.release_version,
            ).only("id", "attempt", "current_step_index", "result_shape")
        }
        asked = [
            _move(known[outcome.execution_id], outcome, group.worker_id)
            for outcome in outcomes
            if outcome.execution_id in known
        ]
        moved = moves.leave_lease(asked)
        for move in asked:
            if move.lease_token not in moved:
                _note_dropped(tenant, move)
        for delay in {move.delay for move in asked if move.target is State.WAIT_RETRY}:
            bell.ring(DISPATCH_TASK, delay=delay)
        bell.ring(DISPATCH_TASK)
    for key in {outcome.execution_id for outcome in outcomes} - known.keys():
        log.warning("Dropped an outcome for %s, which is no execution of %s", key, identity)
    return len(moved)


def _move(execution: Execution, outcome: Outcome, worker_id: str) -> LeasedMove:
    data: dict[str, Any] = {"transitionKey": outcome.transition_key, "attempt": execution.attempt}
    move = _Answer(execution, outcome, f"worker:{worker_id}", data)
    if outcome.outcome == "COMPLETED":
        try:
            return move.succeeded([storable(text) for text in outcome.output_payloads])
        except ValueError as error:
            return move.failed(Failure(failure_class="UNDECODABLE_OUTPUT", message=str(error), retryable=False))
    if outcome.outcome == "WAITING_EXTERNAL":
        message = "The pipeline asks to await an external answer, which this coordinator cannot hold yet"
        return move.failed(Failure(failure_class="AWAIT_UNSUPPORTED", message=message, retryable=False))
    return move.failed(
        outcome.failure
        or Failure(failure_class="MALFORMED_OUTCOME", message="FAILED without a failure", retryable=True)
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """One outcome, on its way to become a move."""

    execution: Execution
    outcome: Outcome
    actor: str
    data: dict[str, Any]

    def succeeded(self, outputs: list[Any]) -> LeasedMove:
        if self.execution.result_shape == "SINGLE" and len(outputs) > 1:
            message = f"The worker produced {len(outputs)} terminal items for SINGLE result shape"
            return self.failed(Failure(failure_class="RESULT_SHAPE_MISMATCH", message=message, retryable=True))
        return self._to(State.SUCCEEDED, "SUCCEEDED", result=outputs)

    def failed(self, failure: Failure) -> LeasedMove:
        message = _cleaned(failure.message)[:LONGEST_MESSAGE]
        code = _cleaned(failure.failure_class)[:LONGEST_CODE] or "UNKNOWN"
        self.data.update(errorCode=code, errorMessage=message, failedStepIndex=failure.step_index)
        if not failure.retryable:
            return self._to(State.FAILED, "FAILED", error_code=code, error_message=message)
        wait = retry_policy().wait(self.execution.attempt + 1, random.random)
        if wait is None:
            return self._to(State.DLQ, "RETRIES_EXHAUSTED", error_code=code, error_message=message)
        self.data["delaySeconds"] = round(wait.total_seconds(), 3)
        return self._to(
            State.WAIT_RETRY, "RETRY_SCHEDULED", attempt=1, delay=wait, error_code=code, error_message=message
        )

    def _to(self, target: State, kind: str, *, attempt: int = 0, **changes: Any) -> LeasedMove:
        return LeasedMove(
            execution_id=self.execution.pk,
            version=self.outcome.execution_version,
            lease_token=self.outcome.lease_token,
            target=target,
            kind=kind,
            actor=self.actor,
            data=self.data,
            step_index=self.execution.current_step_index,
            attempt=self.execution.attempt + attempt,
            transition_key=self.outcome.transition_key[:200],
            **changes,
        )


def storable(text: str) -> Any:
    """The JSON value in `text`. Raises ValueError for what cannot be kept as jsonb: NUL, lone surrogates, numbers that
    are not finite, and whatever nests deeper than DEEPEST.
    """
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"the value nests deeper than {DEEPEST} levels") from None
    rest = [(value, 1)]
    while rest:
        inner, depth = rest.pop()
        if depth > DEEPEST:
            raise ValueError(f"the value nests deeper than {DEEPEST} levels")
        if isinstance(inner, dict):
            rest += [(part, depth + 1) for member in inner.items() for part in member]
        elif isinstance(inner, list):
            rest += [(item, depth + 1) for item in inner]
        elif isinstance(inner, str):
            inner.encode()
            if "\x00" in inner:
                raise ValueError("a string holds the character U+0000")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can carry")
    return number


def _cleaned(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _note_dropped(tenant: Tenant, move: LeasedMove) -> None:
    log.warning("Dropped an outcome for execution %s: its lease was lost", move.execution_id)
    data = {**move.data, "outcome": move.target.value, "version": move.version, "reason": "lease lost"}
    moves.note(move.execution_id, tenant.pk, "OUTCOME_DROPPED", actor=move.actor, data=data)
