"""What surrounds a transition: its name in spans and logs, its steps' times, and the boundary to the author's code."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pipelines.authoring.definition import StepContext
from pipelines.failures import Failed, failed_by, log_failure
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import MOST_SPANS, StepSpan
from wire.traceparent import trace_id

if TYPE_CHECKING:
    from wire.messages.celery_messages import Command
    from wire.messages.rest_messages import TransitionCommand


def attributes_of(identity: ReleaseIdentity, command: Command | TransitionCommand) -> dict[str, str | int]:
    return {
        "pipelines.tenant": identity.tenant_id,
        "pipelines.pipeline": identity.pipeline_id,
        "pipelines.release": identity.release_version,
        "pipelines.execution": str(command.execution_id),
        "pipelines.step.index": command.current_step_index,
        "pipelines.attempt": command.attempt,
    }


def log_fields_of(
    identity: ReleaseIdentity, command: Command | TransitionCommand, traceparent: str
) -> dict[str, str | int]:
    return {
        "tenant": identity.tenant_id,
        "pipeline": identity.pipeline_id,
        "release": identity.release_version,
        "execution": str(command.execution_id),
        "attempt": command.attempt,
        "traceId": trace_id(traceparent),
    }


def context_of(
    identity: ReleaseIdentity, command: Command | TransitionCommand, tenant_id: str, cancellation: Callable[[], bool]
) -> StepContext:
    return StepContext(
        tenant_id=tenant_id,
        execution_id=str(command.execution_id),
        pipeline_id=identity.pipeline_id,
        contract_version=identity.contract_version,
        release_version=identity.release_version,
        attempt=command.attempt,
        transition_key=command.transition_key,
        cancellation=cancellation,
    )


class StepTimes:
    """The spans of the steps of one transition: from the first call of each step to the end of its newest one."""

    def __init__(self) -> None:
        self._spans: dict[int, StepSpan] = {}

    def add(self, step_index: int, begun: float) -> None:
        """Record a call of a step that began at ``begun``, as `time.time` gives it, and ends now."""
        first = self._spans.get(step_index)
        started = int(begun * 1000) if first is None else first[1]
        self._spans[step_index] = (step_index, started, int(time.time() * 1000))

    def spans(self) -> list[StepSpan]:
        """Return the spans in the order of the steps, at most MOST_SPANS."""
        return sorted(self._spans.values())[:MOST_SPANS]


_T = TypeVar("_T")


class Boundary:
    """Runs transitions so that none affects another. Safe to use from many threads."""

    def __init__(self) -> None:
        self._recursion_limit = sys.getrecursionlimit()

    def run(self, execution_id: object, attempt: Callable[[], _T], failure: Callable[[Failed], _T]) -> _T:
        """Return the result of `attempt`. If it raises any exception, return `failure` of that exception.

        A lowered recursion limit and `logging.disable` are undone. A raised recursion limit stays, because another
        step may need it now.
        """
        try:
            return attempt()
        except BaseException as error:
            self._restore()
            failed = failed_by(error)
            log_failure(execution_id, failed)
            return failure(failed)
        finally:
            self._restore()

    def _restore(self) -> None:
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if logging.root.manager.disable:
            logging.disable(logging.NOTSET)
