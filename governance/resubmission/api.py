"""REST: resubmits an execution that has ended, as a new execution."""

import uuid
from typing import ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from executions import errors
from executions.inspection.api import OneExecutionView
from executions.lifecycle.api import START_HELP, CancelRequest
from executions.models import StartFrom
from executions.submission.api import MAX_KEY_LENGTH, NOT_RUNNABLE
from foundation.api.fields import Identifier, SegmentIdentifier
from governance.resubmission.resubmission import UNCHANGED, resubmit
from releases.errors import NoActiveRelease, ReleaseNotOpen, ReleaseUnknown
from releases.models import IDENTITY_LENGTH
from tenancy.api.operations import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class ResubmitRequest(CancelRequest):
    releaseVersion = SegmentIdentifier(
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
        choices=StartFrom.choices, required=False, default=StartFrom.INPUT.value, help_text=START_HELP
    )
    operationKey = Identifier(
        max_length=MAX_KEY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="A repeated key returns the first new execution, or 410 after that was removed. Without a key, "
        "`expectedVersion` is the key. Without both, every request creates an execution.",
    )


@extend_schema(parameters=[TENANT], tags=["executions"])
class Resubmit(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.TenantNotAllowed,
            errors.ExecutionUnknown,
            errors.ResubmissionRemoved,
            errors.ResubmitKeyReused,
            errors.IdempotencyKeyReused,
            errors.ResubmitRefused,
            errors.VersionMismatch,
            errors.ExecutionChanged,
            NoActiveRelease,
            ReleaseUnknown,
            errors.ReleaseNotAdmitted,
            errors.PipelinePaused,
            ReleaseNotOpen,
            errors.InputInvalid,
            errors.CheckpointMissing,
            errors.CheckpointIncompatible,
            *NOT_RUNNABLE,
        )
    }

    @declares(Act.EXECUTION_RESUBMIT, Scope.OPERATE)
    @extend_schema(operation_id="resubmitExecution", request=ResubmitRequest, responses={202: OneExecutionView})
    def post(self, request: Request, tenant: str, execution_id: uuid.UUID) -> Response:
        """Run the input of an execution that has ended again, as a new execution. Return the new execution.

        With `"from": "checkpoint"`, only the steps after its checkpoint run. The new execution is pinned to the active
        release or to `releaseVersion`. The old execution keeps its release and its result. The token needs the scope
        `executions:submit` too. The body is optional.
        """
        self.require(Scope.SUBMIT)
        body = ResubmitRequest.validated(request.data)
        new = resubmit(
            self.tenant,
            execution_id,
            actor=self.actor,
            reason=body["reason"],
            release_version=body["releaseVersion"],
            input=body.get("input", UNCHANGED),
            start_from=StartFrom(body["from"]),
            expected_version=body["expected_version"],
            operation_key=body["operationKey"],
        )
        answer = OneExecutionView(new, context={"request": request}).data
        return Response(answer, status=status.HTTP_202_ACCEPTED, headers={"Location": answer["links"]["self"]})


urlpatterns = [path("executions/<uuid:execution_id>/resubmit", Resubmit.as_view(), name="execution-resubmit")]
