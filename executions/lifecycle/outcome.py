"""Records the outcomes that workers report. The execution's version and the fencing token guard each outcome: it is
dropped if its lease is lost.
"""

import logging
import random
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from django.db import Error, transaction

from executions import metrics, spans
from executions.awaits import awaits
from executions.awaits.awaits import Parking
from executions.lifecycle import item_groups, reports
from executions.lifecycle.reports import Locked, Overtaken, lock, with_lost_leases
from executions.lifecycle.retries import Retries, of_release
from executions.models import DeadLetter
from executions.models.states import OUTCOME_UNKNOWN, State
from executions.state_machine import dead_letters, moves
from executions.state_machine.moves import Move, Note
from executions.step_reports import failed_items, step_reports
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database.postgresql.outage import rejects_values
from tenancy.models import Tenant
from wire.documents.json_reader import all_storable
from wire.identity import ReleaseIdentity
from wire.log_lines import bound
from wire.messages.celery_messages import (
    LONGEST_TRACEBACK,
    Checkpoint,
    Failure,
    Outcome,
    OutcomeGroup,
    Suspension,
)
from wire.messages.suspension import ImportedSuspension

log = logging.getLogger(__name__)
LONGEST_MESSAGE = 512
LONGEST_CODE = 100
LONGEST_TOGETHER = 1024**2
"""How many characters of payloads are decoded at once, unless one outcome or checkpoint has more."""

LATE_STARTS = 2
"""How often a group is started again because an execution was changed by a transaction that began later."""
_STEPS_ARE_OVER = (State.SUCCEEDED, State.WAITING_EXTERNAL)
"""The states after an outcome that lets no step of its transition run again."""

Opened = Mapping[uuid.UUID, ImportedSuspension]
"""What workers have opened themselves of the awaits that their outcomes report, by execution."""


def record(identity: ReleaseIdentity, group: OutcomeGroup, opened: Opened = MappingProxyType({})) -> int:
    """Record a group of outcomes, checkpoints and finished items: in one transaction, or large ones each in its own.

    An outcome is valid only for an execution that is pinned to this release of this tenant, and only under its lease,
    or under the newest lost one (ADR 73). Any other outcome is dropped; if only its lease is lost, an event records
    that. If the database rejects one outcome, its execution fails with UNRECORDABLE_OUTCOME; if it rejects a
    checkpoint or a group of items, that is dropped. The rest of the group is still recorded.

    Returns how many outcomes were recorded, which is how many places they free. Raises any other error of the database,
    because it says nothing about the outcomes; the caller retries the whole group until it is recorded.
    """
    fields = {"tenant": identity.tenant_id, "pipeline": identity.pipeline_id, "release": identity.release_version}
    with bound(fields), spans.recording(identity, group.outcomes):
        if (
            _payload_length(group) <= LONGEST_TOGETHER
            or len(group.outcomes) + len(group.checkpoints) + len(group.items) == 1
        ):
            try:
                return _record(identity, group, opened)
            except Exception as error:
                _raise_if_unrelated(error)
        return sum(_record_or_fail(identity, part, opened) for part in _one_by_one(group))


def _record_or_fail(identity: ReleaseIdentity, part: OutcomeGroup, opened: Opened) -> int:
    """Record a group of one outcome, or a failure in its place. If the database rejects both, the lease expires."""
    for attempt in (part, _as_failure(part)):
        try:
            return _record(identity, attempt, opened)
        except Exception as error:
            _raise_if_unrelated(error)
            log.exception("The outcome of worker %s for %s could not be recorded", part.worker_id, identity)
    return 0


def _as_failure(part: OutcomeGroup) -> OutcomeGroup:
    message = "The coordinator could not record the outcome; its log has the reason"
    failure = Failure(failure_class="UNRECORDABLE_OUTCOME", message=message, retryable=False)
    changes: dict[str, Any] = {
        "outcome": "FAILED",
        "output_payloads": [],
        "suspension": None,
        "failure": failure,
        "report": None,
    }
    outcomes = [outcome.model_copy(update=changes) for outcome in part.outcomes]
    return part.model_copy(update={"checkpoints": [], "items": [], "outcomes": outcomes})


def _raise_if_unrelated(error: Exception) -> None:
    """Raise `error` again unless the outcome caused it. Otherwise a success would become a failure."""
    if isinstance(error, Error | OSError | MemoryError) and not rejects_values(error):
        raise error


def _payload_length(group: OutcomeGroup) -> int:
    payloads = [outcome.output_payloads for outcome in group.outcomes]
    payloads += [checkpoint.output_payloads for checkpoint in group.checkpoints]
    payloads += [item_group.outputs for item_group in group.items]
    payloads += [outcome.suspension.requests for outcome in group.outcomes if outcome.suspension is not None]
    return sum(sum(map(len, texts)) for texts in payloads)


def _one_by_one(group: OutcomeGroup) -> Iterator[OutcomeGroup]:
    for checkpoint in group.checkpoints:
        yield group.model_copy(update={"checkpoints": [checkpoint], "items": [], "outcomes": []})
    for items in group.items:
        yield group.model_copy(update={"checkpoints": [], "items": [items], "outcomes": []})
    for outcome in group.outcomes:
        yield group.model_copy(update={"checkpoints": [], "items": [], "outcomes": [outcome]})


def _record(identity: ReleaseIdentity, group: OutcomeGroup, opened: Opened) -> int:
    """Record the group in a transaction that began after the last change of its executions, if possible.

    So events in the order of their sequence are also in the order of their times.
    """
    for _ in range(LATE_STARTS):
        with suppress(Overtaken):
            return _record_once(identity, group, opened, may_restart=True)
    return _record_once(identity, group, opened, may_restart=False)


def _record_once(identity: ReleaseIdentity, group: OutcomeGroup, opened: Opened, *, may_restart: bool) -> int:
    # Removes repeats. Outcomes under different leases or versions stay: the guard of the move decides which is valid.
    outcomes = {
        (outcome.execution_id, outcome.execution_version, outcome.lease_token): outcome for outcome in group.outcomes
    }
    if len(outcomes) < len(group.outcomes):
        group = group.model_copy(update={"outcomes": list(outcomes.values())})
    running = [report.execution_id for report in (*group.checkpoints, *group.items)]
    ids = [*running, *(outcome.execution_id for outcome in group.outcomes)]
    with transaction.atomic():
        known, group = with_lost_leases(lock(identity, ids, may_restart=may_restart), group)
        step_reports.store([outcome for outcome in group.outcomes if outcome.report and outcome.execution_id in known])
        starts = {pk: locked.step_index for pk, locked in known.items()}
        starts |= reports.keep_checkpoints(
            [checkpoint for checkpoint in group.checkpoints if checkpoint.execution_id in known], group, starts
        )
        if group.items:
            item_groups.store([item_group for item_group in group.items if item_group.execution_id in known], group)
        requested = list(_moves(identity, known, group, starts, opened))
        failing: list[Outcome | Checkpoint] = []
        for checkpoint in group.checkpoints:
            if checkpoint.failed_items and starts.get(checkpoint.execution_id) == checkpoint.next_step_index:
                failing.append(checkpoint)
        for move, outcome in requested:
            if outcome.failed_items and move.target in _STEPS_ARE_OVER:
                failing.append(outcome)
        if failing:
            failed_items.store(failing)
        reporter = reports.reporter(group)
        moved = {id(move) for move in moves.apply([move for move, _ in requested], reporter)}
        _note_dropped([move for move, _ in requested if id(move) not in moved], reporter)
        _follow_up(identity, [(move, outcome) for move, outcome in requested if id(move) in moved], opened)
    _count(identity, requested, moved)
    for key in {outcome.execution_id for outcome in group.outcomes} - known.keys():
        log.warning(
            "Dropped an outcome for %s, which is not an execution of %s", key, identity, extra={"execution": key}
        )
    return len(moved)


def _count(identity: ReleaseIdentity, requested: Sequence[tuple[Move, Outcome]], moved: Collection[int]) -> None:
    """Count what was recorded. `moved` are the ids of the moves that took place."""
    release = identity.tenant_id, identity.pipeline_id, identity.release_version
    metrics.outcome_groups.observe(amount=len(moved))
    recorded: dict[State, list[uuid.UUID]] = {}
    seconds: list[float] = []
    for move, outcome in requested:
        if id(move) not in moved:
            continue
        recorded.setdefault(move.target, []).append(move.execution_id)
        if outcome.span or outcome.steps:
            starts, ends = zip(outcome.span, strict=True) if outcome.span else [*zip(*outcome.steps, strict=True)][1:]
            seconds.append(max(max(ends) - min(starts), 0) / 1000)
    metrics.run_time.observe_all(*release, amounts=seconds)
    if dropped := len(requested) - len(moved):
        metrics.outcomes_dropped.add(*release, amount=dropped)
    for target, ids in recorded.items():
        metrics.outcomes.add(*release, target.value, amount=len(ids))
        if target is State.SUCCEEDED:
            metrics.finished.add(*release, target.value, amount=len(ids))
        elif target is State.WAIT_RETRY:
            metrics.retries.add(*release, amount=len(ids))
        # The caller's transaction may also store the outputs of a call.
        lines = partial(
            metrics.write_lines, f"Recorded {target.value}", [(release, execution_id) for execution_id in ids]
        )
        transaction.on_commit(lines)


def _moves(
    identity: ReleaseIdentity,
    known: Mapping[uuid.UUID, Locked],
    group: OutcomeGroup,
    starts: reports.Starts,
    opened: Opened,
) -> Iterator[tuple[Move, Outcome]]:
    """Yield the move that each outcome requests, with the outcome."""
    retries = cache(of_release)  # most groups need none
    for outcome in group.outcomes:
        execution = known.get(outcome.execution_id)
        if execution is not None:
            # An outcome under a lost lease is dropped. Its event has the spans of all its steps.
            start = starts[execution.pk] if outcome.execution_version == execution.version else 0
            report = reports.of_outcome(outcome, start)
            if start > execution.step_index:  # a checkpoint of this group begins a new retry budget
                execution = execution._replace(budget_start=execution.attempt)
            reported = _Reported(execution, outcome, group.worker_id, report, retries, opened.get(execution.pk))
            yield _move(reported), outcome


def _follow_up(identity: ReleaseIdentity, recorded: list[tuple[Move, Outcome]], opened: Opened) -> None:
    parkings = [
        Parking(
            move.execution_id,
            move.new_await_unit,
            outcome.suspension,
            opened.get(move.execution_id),
            outcome.traceparent,
        )
        for move, outcome in recorded
        if move.new_await_unit is not None and outcome.suspension is not None
    ]
    if parkings:
        awaits.park(Tenant.objects.get(slug=identity.tenant_id), parkings)
    reasons = {move.execution_id: reason for move, _ in recorded if (reason := _reason(move)) is not None}
    dead_letters.write(reasons)
    for delay in {move.delay for move, _ in recorded if move.target is State.WAIT_RETRY}:
        wakeup.send_once(DISPATCH_TASK, delay=delay)


def _reason(move: Move) -> DeadLetter.Reason | None:
    """Return the reason of the dead letter of a move, None if it has none."""
    if move.target is State.DLQ:
        return DeadLetter.Reason.RETRY_EXHAUSTED
    if move.target is State.FAILED:
        unknown = move.error_code == OUTCOME_UNKNOWN
        return DeadLetter.Reason.OUTCOME_UNKNOWN if unknown else DeadLetter.Reason.NON_RETRYABLE
    return None


def _move(reported: "_Reported") -> Move:
    outcome = reported.outcome
    try:
        if outcome.outcome == "COMPLETED":
            return reported.completed(all_storable(outcome.output_payloads))
        if outcome.outcome == "WAITING_EXTERNAL" and outcome.suspension is not None:
            return reported.suspended(outcome.suspension)
    except ValueError as error:
        return reported.failed(Failure(failure_class="UNDECODABLE_OUTPUT", message=str(error), retryable=False))
    malformed = f"The outcome {outcome.outcome} lacks its data"
    return reported.failed(
        outcome.failure or Failure(failure_class="MALFORMED_OUTCOME", message=malformed, retryable=True)
    )


class _Reported(NamedTuple):
    """A reported outcome and its execution. The methods return the move that it requests."""

    execution: Locked
    outcome: Outcome
    worker_id: str
    report: Mapping[str, Any]
    retries: Callable[[int], Retries]
    opened: ImportedSuspension | None

    def completed(self, outputs: list[Any]) -> Move:
        if self.outcome.stopped_before_step_index != -1:
            step = self.outcome.stopped_before_step_index + 1
            message = f"The worker stopped before step {step}, which no command requested"
            return self.failed(Failure(failure_class="MALFORMED_OUTCOME", message=message, retryable=True))
        if self.execution.result_shape == "SINGLE" and len(outputs) > 1:
            message = f"The worker produced {len(outputs)} terminal items for SINGLE result shape"
            return self.failed(Failure(failure_class="RESULT_SHAPE_MISMATCH", message=message, retryable=True))
        return self._to(State.SUCCEEDED, "SUCCEEDED", result=outputs)

    def suspended(self, suspension: Suspension) -> Move:
        """Park the execution, with the requests of the await as progress. A re-drive of a lost await repeats them.

        The retries of the next transition are counted from 0.
        """
        requests = all_storable(suspension.requests)
        why = awaits.why_unanswerable(suspension, self.opened)
        if why is not None:
            return self.failed(Failure(failure_class="UNANSWERABLE_SUSPENSION", message=why, retryable=False))
        return self._to(
            State.WAITING_EXTERNAL,
            "AWAITING",
            step_index=suspension.step_index,
            progress=requests if suspension.itemized else requests[0],
            progress_shape="MULTI" if suspension.itemized else suspension.request_shape,
            new_await_unit=uuid.uuid4(),
            budget_start=self.execution.attempt if self.execution.attempt > self.execution.budget_start else None,
        )

    def failed(self, failure: Failure) -> Move:
        message = _cleaned(failure.message)[:LONGEST_MESSAGE]
        code = _cleaned(failure.failure_class)[:LONGEST_CODE] or "UNKNOWN"
        details: dict[str, Any] = {"errorCode": code, "errorMessage": message, "failedStepIndex": failure.step_index}
        if failure.traceback:
            details["traceback"] = _cleaned(failure.traceback)[:LONGEST_TRACEBACK]
        error = {"error_code": code, "error_message": message}
        if code != OUTCOME_UNKNOWN and not failure.retryable:
            return self._to(State.FAILED, "FAILED", details, **error)
        policy = self.retries(self.execution.release_id).of_step(failure.step_index)
        if code == OUTCOME_UNKNOWN and not policy.repeat_unknown:
            return self._to(State.FAILED, "FAILED", details, **error)
        retry = self.execution.attempt + 1 - self.execution.budget_start
        wait = policy.wait(retry, random.random)
        if wait is None:
            return self._to(State.DLQ, "RETRIES_EXHAUSTED", details, **error)
        details["delaySeconds"] = round(wait.total_seconds(), 3)
        attempt = self.execution.attempt + 1
        return self._to(State.WAIT_RETRY, "RETRY_SCHEDULED", details, attempt=attempt, delay=wait, **error)

    def _to(self, target: State, kind: str, details: Mapping[str, Any] | None = None, **changes: Any) -> Move:
        key = self.outcome.transition_key[:200]
        return Move(
            execution_id=self.execution.pk,
            version=self.outcome.execution_version,
            lease_token=self.outcome.lease_token,
            target=target,
            kind=kind,
            actor=f"worker:{self.worker_id}",
            data={"transitionKey": key, "attempt": self.execution.attempt, **self.report, **(details or {})},
            transition_key=key,
            **changes,
        )


def _cleaned(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _note_dropped(dropped: Sequence[Move], reporter: Mapping[str, str]) -> None:
    for move in dropped:
        log.warning(
            "Dropped an outcome for execution %s: its lease was lost",
            move.execution_id,
            extra={"execution": move.execution_id, "attempt": move.data["attempt"]},
        )
    moves.note(
        "OUTCOME_DROPPED",
        [
            Note(
                move.execution_id,
                move.actor,
                {
                    **reporter,
                    **move.data,
                    "outcome": move.target.value,
                    "version": move.version,
                    "reason": "lease lost",
                },
            )
            for move in dropped
        ],
    )
