"""The representation of an accepted execution.

It is written without a serializer, because submissions are the busiest requests. `AcceptedView` only describes it for
the OpenAPI document.
"""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from executions.inspection.api import ExecutionView, links_of
from executions.models import Execution
from executions.models.states import State
from executions.submission.submission import Submission
from releases.api import pause_of


class AcceptedView(ExecutionView):
    duplicate = serializers.BooleanField(
        default=False, help_text="True if the key was used before. This is the execution that was created then."
    )
    dispatchDelayed = serializers.BooleanField(
        default=False,
        help_text="True if the coordinator cannot send messages at the moment. The execution is durable and starts "
        "when messages arrive again. Always false for a duplicate.",
    )


def accepted_json(submission: Submission, address: str, *, payloads: bool) -> dict[str, Any]:
    """Return the members of `AcceptedView`. `address` is the URL of the tenant's executions.

    Without `payloads`, the error of an earlier execution has no message.
    """
    created, earlier = _instant(submission.created_at), submission.earlier
    return {
        "executionId": str(submission.execution_id),
        "pin": {
            "pipelineId": submission.pipeline_id,
            "contractVersion": submission.contract_version,
            "releaseVersion": submission.release_version,
        },
        "idempotencyKey": submission.idempotency_key,
        **(_NEW_STATE if earlier is None else _state(earlier, payloads)),
        "submittedBy": submission.submitted_by,
        "tags": list(submission.tags),
        "createdAt": created,
        "nextDueAt": created if earlier is None else _instant(earlier.next_due_at),
        "updatedAt": created if earlier is None else _instant(earlier.updated_at),
        "finishedAt": None if earlier is None else _instant(earlier.finished_at),
        "links": links_of(f"{address}/{submission.execution_id}"),
        "duplicate": submission.duplicate,
        "dispatchDelayed": submission.dispatch_delayed,
    }


_NEW_STATE = {
    "status": State.QUEUED.value,
    "worker": None,
    "runningSince": None,
    "smoke": False,
    "version": 0,
    "currentStepIndex": 0,
    "attempt": 0,
    "error": None,
    "paused": None,
}


def _state(execution: Execution, payloads: bool) -> dict[str, Any]:
    message = execution.error_message if payloads else None
    error = {"code": execution.error_code, "message": message} if execution.error_code else None
    return {
        "status": execution.status,
        "worker": execution.lease_worker,
        "runningSince": _instant(execution.running_since),
        "smoke": execution.smoke,
        "version": execution.version,
        "currentStepIndex": execution.current_step_index,
        "attempt": execution.attempt,
        "error": error,
        "paused": pause_of(execution),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
