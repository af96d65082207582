"""REST: resubmits an execution that has ended, as a new execution."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers, status
from rest_framework.response import Response

from executions import errors
from executions.inspection.api import OneExecutionView
from executions.lifecycle.api import REPLACED_HELP, START_HELP, CancelRequest
from executions.submission.api import NOT_RUNNABLE
from executions.submission.members import MAX_KEY_LENGTH
from foundation.api.fields import Flag, Identifier, SegmentIdentifier
from governance.resubmission import resubmission
from governance.resubmission.starts import Start
from releases.errors import NoActiveRelease, ReleaseNotOpen, ReleaseUnknown
from releases.models import IDENTITY_LENGTH
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class ResubmitRequest(CancelRequest):
    releaseVersion = SegmentIdentifier(
        source="release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="A release that is or was active. Without it, the active release is used.",
    )
    input = serializers.JSONField(
        required=False, help_text="Replaces the input. Without it, the input of the old execution is used."
    )
    from_ = serializers.ChoiceField(
        source="start_from",
        choices=Start.choices,
        required=False,
        default=Start.INPUT.value,
        help_text=f"{START_HELP} `items` runs only the items that failed and were collected, at the step at which they "
        "failed, and the steps after it.",
    )
    operationKey = Identifier(
        source="operation_key",
        max_length=MAX_KEY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="A repeated key returns the first new execution, or 410 after that was removed. Without a key, "
        "`expectedVersion` is the key. Without both, every request creates an execution.",
    )
    allowReplaced = Flag(required=False, default=False, source="allow_replaced", help_text=REPLACED_HELP)


@operation("executions", "resubmitExecution", {202: OneExecutionView}, body=ResubmitRequest)
@declares(Act.EXECUTION_RESUBMIT, Scope.OPERATE)
@refuses(
    errors.TenantNotAllowed,
    errors.ExecutionUnknown,
    errors.ResubmissionRemoved,
    errors.ResubmitKeyReused,
    errors.IdempotencyKeyReused,
    errors.ResubmitRefused,
    errors.VersionMismatch,
    errors.ExecutionChanged,
    errors.ExecutionReplaced,
    NoActiveRelease,
    ReleaseUnknown,
    errors.ReleaseNotAdmitted,
    errors.PipelinePaused,
    ReleaseNotOpen,
    errors.InputInvalid,
    errors.CheckpointMissing,
    errors.FailedItemsMissing,
    errors.CheckpointIncompatible,
    *NOT_RUNNABLE,
)
def resubmit(view: TenantView, execution_id: uuid.UUID, **body: Any) -> Any:
    """Run the input of an execution that has ended again, as a new execution. Return the new execution.

    With `"from": "checkpoint"`, only the steps after its checkpoint run, and with `"from": "items"` only the items that
    failed and were collected. The new execution is pinned to the active
    release or to `releaseVersion`. The old execution keeps its release and its result. The token needs the scope
    `executions:submit` too. The body is optional.
    """
    view.require(Scope.SUBMIT)
    new = resubmission.resubmit(view.tenant, execution_id, actor=view.actor, **body)
    answer = OneExecutionView(new, context={"request": view.request}).data
    return Response(answer, status=status.HTTP_202_ACCEPTED, headers={"Location": answer["links"]["self"]})


urlpatterns = [path("executions/<uuid:execution_id>/resubmit", resubmit, name="execution-resubmit")]
