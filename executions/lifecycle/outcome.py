"""Records what workers answer: under version and fencing token, and dropped where the lease is lost."""

import logging
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from executions.awaits import opening
from executions.awaits.opening import Parking
from executions.lifecycle import checkpoints, dead_letters, moves
from executions.lifecycle.moves import Move, Note
from executions.lifecycle.retry import RetryPolicy
from executions.lifecycle.states import State
from executions.models import DeadLetter
from executions.workers.registry import DISPATCH_TASK
from foundation.database import prepared
from foundation.wakeups import wakeup
from releases.activation.policy import LONGEST_RETRY_DELAY
from releases.models import Pipeline
from tenancy.models import Tenant
from wire.documents.json_text import all_storable
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup, Suspension
from wire.messages.limits import LONGEST_TRACEBACK
from wire.messages.suspension import ImportedSuspension

log = logging.getLogger(__name__)
LONGEST_MESSAGE = 512
LONGEST_CODE = 100
LONGEST_TOGETHER = 1024**2
"""How many characters of payloads are decoded at once, unless one outcome or checkpoint has more."""

Opened = Mapping[uuid.UUID, ImportedSuspension]
"""What workers have opened themselves of the awaits that their outcomes report, by execution."""


def retry_policy(pipeline: Pipeline) -> RetryPolicy:
    """The pipeline's own settings where it has any, and the coordinator's for the rest."""

    def own(value: Any, default: Any) -> Any:
        return default if value is None else value

    return RetryPolicy(
        limit=own(pipeline.retry_limit, settings.RETRY_LIMIT),
        delay=timedelta(seconds=own(pipeline.retry_delay_seconds, settings.RETRY_DELAY_SECONDS)),
        multiplier=own(pipeline.retry_multiplier, settings.RETRY_MULTIPLIER),
        cap=LONGEST_RETRY_DELAY,
        jitter=settings.RETRY_JITTER,
    )


def record(identity: ReleaseIdentity, group: OutcomeGroup, opened: Opened = MappingProxyType({})) -> int:
    """Commit a group of outcomes in one transaction, or large ones in one each. Returns how many were recorded; there
    is room for as many now.

    An outcome counts only for an execution that is pinned to this very release of this tenant, and only under the
    lease it was given. Any other is dropped, and an event says so. If an outcome cannot be recorded, its execution
    fails with UNRECORDABLE_OUTCOME, and the rest of the group is still recorded; such a checkpoint is left out.
    Raises `OperationalError` or `InterfaceError` if the database is down or busy: try the whole group again.
    """
    if _payload_length(group) <= LONGEST_TOGETHER or len(group.outcomes) + len(group.checkpoints) == 1:
        try:
            return _record(identity, group, opened)
        except Exception as error:
            _raise_if_passing(error)
    return sum(_record_or_fail(identity, part, opened) for part in _one_by_one(group))


def _record_or_fail(identity: ReleaseIdentity, part: OutcomeGroup, opened: Opened) -> int:
    """Record a group of one outcome, or else its failure. If the database rejects both, the lease expires."""
    for attempt in (part, _as_failure(part)):
        try:
            return _record(identity, attempt, opened)
        except Exception as error:
            _raise_if_passing(error)
            log.exception("The outcome of worker %s for %s could not be recorded", part.worker_id, identity)
    return 0


def _as_failure(part: OutcomeGroup) -> OutcomeGroup:
    message = "The coordinator could not record the outcome; its log tells why"
    failure = Failure(failure_class="UNRECORDABLE_OUTCOME", message=message, retryable=False)
    changes: dict[str, Any] = {"outcome": "FAILED", "output_payloads": [], "suspension": None, "failure": failure}
    outcomes = [outcome.model_copy(update=changes) for outcome in part.outcomes]
    return part.model_copy(update={"checkpoints": [], "outcomes": outcomes})


def _raise_if_passing(error: Exception) -> None:
    """Raise `error` again if it is temporary and unrelated to the outcome: the database is down or busy.

    psycopg counts a value that exceeds a limit of the server (class 54) among the same errors; that will not pass.
    """
    if isinstance(error, OperationalError | InterfaceError):
        state = getattr(error.__cause__, "sqlstate", None) or ""
        if not state.startswith("54"):
            raise error


def _payload_length(group: OutcomeGroup) -> int:
    payloads = [each.output_payloads for each in group.outcomes]
    payloads += [each.output_payloads for each in group.checkpoints]
    payloads += [each.suspension.requests for each in group.outcomes if each.suspension is not None]
    return sum(sum(map(len, texts)) for texts in payloads)


def _one_by_one(group: OutcomeGroup) -> Iterator[OutcomeGroup]:
    for checkpoint in group.checkpoints:
        yield group.model_copy(update={"checkpoints": [checkpoint], "outcomes": []})
    for outcome in group.outcomes:
        yield group.model_copy(update={"checkpoints": [], "outcomes": [outcome]})


def _record(identity: ReleaseIdentity, group: OutcomeGroup, opened: Opened) -> int:
    # Repeats go; answers under another lease or version stay, because only the guard of the move tells which one holds.
    outcomes = {(each.execution_id, each.execution_version, each.lease_token): each for each in group.outcomes}.values()
    with transaction.atomic():
        reached = [each.execution_id for each in group.checkpoints]
        known = _hold(identity, [*reached, *(outcome.execution_id for outcome in outcomes)])
        checkpoints.keep([each for each in group.checkpoints if each.execution_id in known], group.worker_id)
        answers = list(_answers(identity, known, group.worker_id, outcomes, opened))
        moved = {id(move) for move in moves.apply([move for move, _ in answers])}
        _note_dropped([move for move, _ in answers if id(move) not in moved])
        _follow_up(identity, [(move, outcome) for move, outcome in answers if id(move) in moved], opened)
    for key in {outcome.execution_id for outcome in outcomes} - known.keys():
        log.warning("Dropped an outcome for %s, which is no execution of %s", key, identity)
    return len(moved)


@dataclass(frozen=True, slots=True)
class _Held:
    """An execution whose row is held, as it was before its outcome."""

    pk: uuid.UUID
    attempt: int
    budget_start: int
    result_shape: str


# Found by their ids alone: see `moves`.
_HOLD = """
SELECT e.id, e.attempt, e.budget_start, e.result_shape,
    (SELECT t.slug FROM tenancy_tenant t WHERE t.id = e.tenant_id), e.pipeline_id, e.contract_version, e.release_version
FROM executions_execution e WHERE e.id = ANY(%(ids)s) ORDER BY e.id FOR NO KEY UPDATE OF e
"""


def _hold(identity: ReleaseIdentity, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, _Held]:
    """The executions of this release among `ids`, locked in the order of their ids before any is touched."""
    with prepared.cursor() as cursor:
        cursor.execute(_HOLD, {"ids": list(set(ids))})
        return {row[0]: _Held(*row[:4]) for row in cursor.fetchall() if ReleaseIdentity(*row[4:]) == identity}


def _answers(
    identity: ReleaseIdentity,
    known: Mapping[uuid.UUID, _Held],
    worker_id: str,
    outcomes: Iterable[Outcome],
    opened: Opened,
) -> Iterator[tuple[Move, Outcome]]:
    policy = cache(partial(_policy_of, identity))  # most groups need none
    for outcome in outcomes:
        if outcome.execution_id in known:
            answer = _Answer(known[outcome.execution_id], outcome, worker_id, policy, opened.get(outcome.execution_id))
            yield _move(answer), outcome


def _policy_of(identity: ReleaseIdentity) -> RetryPolicy:
    return retry_policy(Pipeline.objects.get(tenant__slug=identity.tenant_id, pipeline_id=identity.pipeline_id))


def _follow_up(identity: ReleaseIdentity, recorded: list[tuple[Move, Outcome]], opened: Opened) -> None:
    """What belongs to the moves in their transaction, and the bells for what comes next."""
    parkings = [
        Parking(move.execution_id, move.new_await_unit, outcome.suspension, opened.get(move.execution_id))
        for move, outcome in recorded
        if move.new_await_unit is not None and outcome.suspension is not None
    ]
    if parkings:
        opening.park(Tenant.objects.get(slug=identity.tenant_id), parkings)
    failed = [move.execution_id for move, _ in recorded if move.target is State.FAILED]
    spent = [move.execution_id for move, _ in recorded if move.target is State.DLQ]
    dead_letters.write(failed, DeadLetter.Reason.NON_RETRYABLE, retryable=False)
    dead_letters.write(spent, DeadLetter.Reason.RETRY_EXHAUSTED, retryable=True)
    for delay in {move.delay for move, _ in recorded if move.target is State.WAIT_RETRY}:
        wakeup.send_once(DISPATCH_TASK, delay=delay)


def _move(answer: "_Answer") -> Move:
    outcome = answer.outcome
    try:
        if outcome.outcome == "COMPLETED":
            return answer.completed(all_storable(outcome.output_payloads))
        if outcome.outcome == "WAITING_EXTERNAL" and outcome.suspension is not None:
            return answer.suspended(outcome.suspension)
    except ValueError as error:
        return answer.failed(Failure(failure_class="UNDECODABLE_OUTPUT", message=str(error), retryable=False))
    malformed = f"{outcome.outcome} without what belongs to it"
    return answer.failed(
        outcome.failure or Failure(failure_class="MALFORMED_OUTCOME", message=malformed, retryable=True)
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """One outcome, on its way to become a move."""

    execution: _Held
    outcome: Outcome
    worker_id: str
    policy: Callable[[], RetryPolicy]
    opened: ImportedSuspension | None

    def completed(self, outputs: list[Any]) -> Move:
        if self.outcome.stopped_before_step_index != -1:
            message = f"The worker stopped before step {self.outcome.stopped_before_step_index}; nobody asked it to"
            return self.failed(Failure(failure_class="MALFORMED_OUTCOME", message=message, retryable=True))
        if self.execution.result_shape == "SINGLE" and len(outputs) > 1:
            message = f"The worker produced {len(outputs)} terminal items for SINGLE result shape"
            return self.failed(Failure(failure_class="RESULT_SHAPE_MISMATCH", message=message, retryable=True))
        return self._to(State.SUCCEEDED, "SUCCEEDED", result=outputs)

    def suspended(self, suspension: Suspension) -> Move:
        """Parked at the await, with what it asks as progress: a re-drive of a lost await asks again."""
        requests = all_storable(suspension.requests)
        why = opening.why_unanswerable(suspension, self.opened)
        if why is not None:
            return self.failed(Failure(failure_class="UNANSWERABLE_SUSPENSION", message=why, retryable=False))
        return self._to(
            State.WAITING_EXTERNAL,
            "AWAITING",
            step_index=suspension.step_index,
            progress=requests if suspension.itemized else requests[0],
            progress_shape="MULTI" if suspension.itemized else suspension.request_shape,
            new_await_unit=uuid.uuid4(),
        )

    def failed(self, failure: Failure) -> Move:
        message = _cleaned(failure.message)[:LONGEST_MESSAGE]
        code = _cleaned(failure.failure_class)[:LONGEST_CODE] or "UNKNOWN"
        told: dict[str, Any] = {"errorCode": code, "errorMessage": message, "failedStepIndex": failure.step_index}
        if failure.traceback:
            told["traceback"] = _cleaned(failure.traceback)[:LONGEST_TRACEBACK]
        error = {"error_code": code, "error_message": message}
        if not failure.retryable:
            return self._to(State.FAILED, "FAILED", told, **error)
        retry = self.execution.attempt + 1 - self.execution.budget_start
        wait = self.policy().wait(retry, random.random)
        if wait is None:
            return self._to(State.DLQ, "RETRIES_EXHAUSTED", told, **error)
        told["delaySeconds"] = round(wait.total_seconds(), 3)
        attempt = self.execution.attempt + 1
        return self._to(State.WAIT_RETRY, "RETRY_SCHEDULED", told, attempt=attempt, delay=wait, **error)

    def _to(self, target: State, kind: str, told: Mapping[str, Any] | None = None, **changes: Any) -> Move:
        key = self.outcome.transition_key[:200]
        return Move(
            execution_id=self.execution.pk,
            version=self.outcome.execution_version,
            lease_token=self.outcome.lease_token,
            target=target,
            kind=kind,
            actor=f"worker:{self.worker_id}",
            data={"transitionKey": key, "attempt": self.execution.attempt, **(told or {})},
            transition_key=key,
            **changes,
        )


def _cleaned(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _note_dropped(dropped: Sequence[Move]) -> None:
    for move in dropped:
        log.warning("Dropped an outcome for execution %s: its lease was lost", move.execution_id)
    moves.note(
        "OUTCOME_DROPPED",
        [
            Note(
                move.execution_id,
                move.actor,
                {**move.data, "outcome": move.target.value, "version": move.version, "reason": "lease lost"},
            )
            for move in dropped
        ],
    )
