"""What an event records about the worker that reported it, and about the code that it ran.

Everything here is recorded as reported. `wire.documents.execution_runs` compares it with the pinned release.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup, StepSpan

Starts = Mapping[uuid.UUID, int]
"""The step at which the part that is not recorded yet begins, by execution."""


def reporter(group: OutcomeGroup) -> dict[str, str]:
    """Return the members about the worker. Those that it does not report are empty."""
    return {
        "worker": group.worker_id,
        "artifactDigest": group.artifact_digest,
        "code": group.code or "",
        "environment": group.environment,
    }


def spans(steps: Sequence[StepSpan], start: int) -> list[list[int]]:
    """Return the step index, the start and the end of each span, in milliseconds since 1970.

    Steps before `start` are left out: the checkpoint that moved the execution to `start` has recorded them.
    """
    return [list(each) for each in steps if each[0] >= start]


def of_outcome(outcome: Outcome, start: int) -> dict[str, Any]:
    """Return the members about the part that an outcome ends: the spans of its steps, and its own if known."""
    members: dict[str, Any] = {"steps": spans(outcome.steps, start)}
    if outcome.span is not None:
        members["span"] = list(outcome.span)
    return members


def of_checkpoint(checkpoint: Checkpoint, start: int) -> list[list[int]]:
    """Return the spans of the steps since the checkpoint before this one."""
    return spans([each for each in checkpoint.steps if each[0] < checkpoint.next_step_index], start)
