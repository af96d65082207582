"""REST: re-drives and cancels executions, and lists dead letters."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api.executions import ExecutionView, PinView
from executions.errors import (
    AnswerInvalid,
    CancelRefused,
    ExecutionChanged,
    ExecutionUnknown,
    InteractionUnknown,
    RedriveRefused,
    ReleaseRevokedConfirmation,
    TenantNotAllowed,
    VersionMismatch,
)
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import Answer, Redriven, redrive
from executions.models import DeadLetter
from executions.models.states import State
from executions.state_machine import dead_letters
from foundation.api.fields import Flag, StrictSerializer, Text, Uuid, WholeNumber
from releases.errors import ReleaseRetired
from tenancy.access import require_scope
from tenancy.api import payloads
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

LONGEST_REASON = 1000
HIGHEST_VERSION = 2**63 - 1
STATES = [state.value for state in State]
START_HELP = (
    "`input` runs all steps. `checkpoint` runs only those after the checkpoint of the old execution. It is refused "
    "unless it is proven that the release can continue from it."
)


class CancelRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")
    expectedVersion = WholeNumber(
        min_value=0,
        max_value=HIGHEST_VERSION,
        required=False,
        allow_null=True,
        default=None,
        help_text="Reject the request unless the execution still has this version.",
    )


class ReplacedAnswer(StrictSerializer):
    interactionId = Uuid()
    response = serializers.JSONField(allow_null=True)


class RedriveRequest(CancelRequest):
    allowFailed = Flag(
        required=False,
        default=False,
        help_text="Also accept an execution that is FAILED: its error was reported as one that a retry cannot help, or "
        "a worker may have carried it out already (`OUTCOME_UNKNOWN`).",
    )
    allowRevoked = Flag(required=False, default=False, help_text="Run the execution even if its release is revoked.")
    answer = ReplacedAnswer(
        required=False,
        allow_null=True,
        default=None,
        help_text="Another answer for an interaction whose answer the worker could not read (UNDECODABLE_PAYLOAD). The "
        f"interaction keeps the first one. This also needs the scope `{Scope.ANSWER.value}`.",
    )


class RedriveView(serializers.Serializer[Redriven]):
    executionId = serializers.UUIDField(source="execution.id")
    pin = PinView(source="execution")
    previousStatus = serializers.ChoiceField(choices=STATES, source="previous_status")
    status = serializers.ChoiceField(choices=STATES, source="execution.status")
    version = serializers.IntegerField(source="execution.version")
    currentStepIndex = serializers.IntegerField(source="execution.current_step_index")
    attempt = serializers.IntegerField(source="execution.attempt")
    updatedAt = serializers.DateTimeField(source="execution.updated_at")


class DeadLetterView(serializers.Serializer[DeadLetter]):
    executionId = serializers.UUIDField(source="execution_id")
    pin = PinView(source="execution")
    idempotencyKey = serializers.CharField(source="execution.execution_key")
    executionStatus = serializers.ChoiceField(
        choices=STATES, source="execution.status", help_text="The current status of the execution."
    )
    executionVersion = serializers.IntegerField(source="execution_version")
    transitionKey = serializers.CharField(source="transition_key")
    terminalStatus = serializers.CharField(source="terminal_status")
    reason = serializers.ChoiceField(choices=DeadLetter.Reason.choices)
    errorCode = serializers.CharField(source="error_code")
    errorMessage = serializers.CharField(source="error_message", allow_null=True, help_text=payloads.HELP)
    retryable = serializers.BooleanField()
    retriesObserved = serializers.IntegerField(source="retries_observed")
    stepIndex = serializers.IntegerField(
        source="step_index", help_text="The step at which the failed transition started."
    )
    failedStepIndex = serializers.IntegerField(
        source="failed_step_index", help_text="The step that failed, or the same as `stepIndex` if that is unknown."
    )
    failureGroupId = serializers.UUIDField(source="group_id", allow_null=True, help_text="Null for smoke tests.")
    createdAt = serializers.DateTimeField(source="created_at")

    def to_representation(self, instance: DeadLetter) -> dict[str, Any]:
        shown = super().to_representation(instance)
        payloads.withhold(["errorMessage"], shown, self.context)
        return shown


class DeadLetterFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="execution__pipeline_id")
    releaseVersion = filters.CharFilter(field_name="execution__release_version")
    errorCode = filters.CharFilter(field_name="error_code")
    reason = filters.ChoiceFilter(choices=DeadLetter.Reason.choices)
    executionId = filters.UUIDFilter(field_name="execution_id")
    failureGroupId = filters.UUIDFilter(field_name="group_id")


@extend_schema(parameters=[TENANT], tags=["executions"])
class Redrive(TenantView):
    refusals: ClassVar = {
        "POST": (
            TenantNotAllowed,
            ExecutionUnknown,
            RedriveRefused,
            VersionMismatch,
            ExecutionChanged,
            ReleaseRetired,
            ReleaseRevokedConfirmation,
            InteractionUnknown,
            AnswerInvalid,
        )
    }

    @declares(Act.EXECUTION_REDRIVE, Scope.OPERATE)
    @extend_schema(operation_id="redriveExecution", request=RedriveRequest, responses=RedriveView)
    def post(self, request: Request, tenant: str, execution_id: uuid.UUID) -> Response:
        """Run a failed execution again, from the step that failed, on the release to which it is pinned.

        Its retries are counted from zero again. The body is optional.
        """
        body = RedriveRequest.validated(request.data)
        answer = body["answer"]
        if answer is not None:
            require_scope(self.token, Scope.ANSWER)
        redriven = redrive(
            self.tenant,
            execution_id,
            actor=self.actor,
            reason=body["reason"],
            expected_version=body["expectedVersion"],
            allow_failed=body["allowFailed"],
            allow_revoked=body["allowRevoked"],
            answer=None if answer is None else Answer(answer["interactionId"], answer["response"]),
        )
        return Response(RedriveView(redriven).data)


@extend_schema(parameters=[TENANT], tags=["executions"])
class Cancel(TenantView):
    refusals: ClassVar = {"POST": (ExecutionUnknown, CancelRefused, VersionMismatch, ExecutionChanged)}

    @declares(Act.EXECUTION_CANCEL, Scope.OPERATE)
    @extend_schema(operation_id="cancelExecution", request=CancelRequest, responses=ExecutionView)
    def post(self, request: Request, tenant: str, execution_id: uuid.UUID) -> Response:
        """Cancel an execution that has not ended. Cancelling it again changes nothing. The body is optional."""
        body = CancelRequest.validated(request.data)
        execution = cancel(
            self.tenant,
            execution_id,
            actor=self.actor,
            reason=body["reason"],
            expected_version=body["expectedVersion"],
        )
        return Response(ExecutionView(execution, context={"request": request}).data)


@extend_schema(parameters=[TENANT], tags=["executions"])
class DeadLetters(TenantView, ListAPIView[DeadLetter]):
    """The terminal failures of executions, newest first."""

    serializer_class = DeadLetterView
    filterset_class = DeadLetterFilter
    ordering = ("-created_at", "-id")
    queryset = DeadLetter.objects.none()

    def get_queryset(self) -> Any:
        return dead_letters.letters(self.tenant)


urlpatterns = [
    path("executions/<uuid:execution_id>/redrive", Redrive.as_view(), name="execution-redrive"),
    path("executions/<uuid:execution_id>/cancel", Cancel.as_view(), name="execution-cancel"),
    path("dead-letters", DeadLetters.as_view(), name="dead-letters"),
]
