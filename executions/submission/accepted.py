"""The representation of an accepted execution. `AcceptedView` only describes it for the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from executions.inspection.api import ExecutionView, execution_json, instant, links_of
from executions.models.states import NORMAL, State
from executions.submission.submission import Submission


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
    execution, earlier = str(submission.execution_id), submission.earlier
    here = f"{address}/{execution}"
    if earlier is None and submission.starts:
        earlier = submission.execution
    shown = _new(submission, execution, here) if earlier is None else execution_json(earlier, here, payloads=payloads)
    shown["duplicate"], shown["dispatchDelayed"] = submission.duplicate, submission.dispatch_delayed
    return shown


def _new(submission: Submission, execution: str, address: str) -> dict[str, Any]:
    """Return the members of `ExecutionView` for an execution that was just inserted."""
    created = instant(submission.created_at)
    return {
        "executionId": execution,
        "pin": {
            "pipelineId": submission.pipeline_id,
            "contractVersion": submission.contract_version,
            "releaseVersion": submission.release_version,
        },
        "idempotencyKey": submission.idempotency_key,
        "businessKey": submission.idempotency_key,
        **_NEW_STATE,
        "nextDueAt": created,
        "submittedBy": submission.submitted_by,
        "tags": list(submission.tags),
        "createdAt": created,
        "updatedAt": created,
        "links": links_of(address),
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
    "notBefore": None,
    "expiresAt": None,
    "priority": NORMAL,
    "concurrencyKey": None,
    "finishedAt": None,
    "paused": None,
}
