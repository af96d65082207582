"""What a transition came to, in the words of the protocol (wire protocol D.6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from executions.protocol import Checkpoint, Command, Failure, Outcome, Suspension
from pipelines.runner import UNDECODABLE_PAYLOAD, Completed, Failed, Suspended
from pipelines.runner import Outcome as RunOutcome
from releases.identity import ReleaseIdentity


def outcome_of(command: Command, outcome: RunOutcome, *, steps: int) -> Outcome:
    """The answer to a command of a pipeline that has `steps` steps."""
    if isinstance(outcome, Completed):
        stopped = command.stop_before_step_index
        return _base(command)(
            outcome="COMPLETED",
            output_payloads=_texts(outcome.outputs),
            stopped_before_step_index=stopped if stopped < steps else -1,
        )
    if isinstance(outcome, Failed):
        failure = Failure(
            failure_class=outcome.failure_class,
            message=outcome.message,
            retryable=outcome.retryable,
            step_index=outcome.step_index,
        )
        return failed(command, failure)
    return _base(command)(outcome="WAITING_EXTERNAL", suspension=_suspension(outcome))


def _suspension(suspended: Suspended) -> Suspension:
    """What the author wrote of the await, with the values to ask about."""
    waits = suspended.step.waits
    if waits is None:
        raise TypeError(f"step {suspended.step.name} is no await")
    cardinality = suspended.step.cardinality
    return Suspension(
        step_index=suspended.step_index,
        step_id=waits.step_id,
        itemized=suspended.itemized,
        gives_many=suspended.itemized or cardinality.gives_many,
        requests=_texts(suspended.requests),
        request_shape="MULTI" if cardinality.takes_many else "UNI",
        output_type=suspended.step.output.type_id,
        transport=waits.transport,
        transport_metadata=dict(waits.transport_metadata),
        timeout_seconds=waits.timeout.total_seconds(),
        assignee=waits.assignee,
        group=waits.group,
    )


def undecodable(command: Command, error: ValueError) -> Outcome:
    return failed(command, Failure(failure_class=UNDECODABLE_PAYLOAD, message=str(error), retryable=False))


def mismatch(command: Command, meant: ReleaseIdentity, hosted: ReleaseIdentity) -> Outcome:
    message = f"Transition command targets {meant} but local worker is {hosted}"
    return failed(command, Failure(failure_class="IDENTITY_MISMATCH", message=message, retryable=False))


def checkpoint_of(command: Command, next_step_index: int, outputs: Sequence[Any], *, many: bool) -> Checkpoint:
    """That everything before `next_step_index` is done, and what came of it."""
    return Checkpoint(
        execution_id=command.execution_id,
        execution_version=command.execution_version,
        lease_token=command.lease_token,
        transition_key=command.transition_key,
        next_step_index=next_step_index,
        output_payloads=_texts(outputs),
        many=many,
    )


def _texts(values: Sequence[Any]) -> list[str]:
    return [json.dumps(value, ensure_ascii=False) for value in values]


def failed(command: Command, failure: Failure) -> Outcome:
    return _base(command)(outcome="FAILED", failure=failure)


def _base(command: Command) -> Callable[..., Outcome]:
    def make(**members: Any) -> Outcome:
        return Outcome(
            execution_id=command.execution_id,
            execution_version=command.execution_version,
            lease_token=command.lease_token,
            transition_key=command.transition_key,
            **members,
        )

    return make
