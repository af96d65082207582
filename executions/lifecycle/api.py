"""REST: re-drives and cancels executions, and lists dead letters."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.urls import path
from django_filters import rest_framework as filters
from rest_framework import serializers

from executions import errors
from executions.failures.queries import letters_on
from executions.inspection.api import ExecutionView, PinView
from executions.lifecycle import interventions
from executions.lifecycle.interventions import Answer, Redriven
from executions.models import DeadLetter
from executions.models.states import State
from executions.state_machine.dead_letters import letters
from foundation.api.fields import Flag, StrictSerializer, Text, Uuid, WholeNumber
from releases.errors import ReleaseRetired
from tenancy.api.authentication import WITHHELD, withhold
from tenancy.api.operations import TenantView, listing, operation, refuses
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
        source="expected_version",
        help_text="Reject the request unless the execution still has this version.",
    )


class ReplacedAnswer(StrictSerializer):
    interactionId = Uuid(source="interaction_id")
    response = serializers.JSONField(allow_null=True)


class RedriveRequest(CancelRequest):
    allowFailed = Flag(
        required=False,
        default=False,
        source="allow_failed",
        help_text="Also accept an execution that is FAILED: its error was reported as one that a retry cannot help, or "
        "a worker may have carried it out already (`OUTCOME_UNKNOWN`).",
    )
    allowRevoked = Flag(
        required=False,
        default=False,
        source="allow_revoked",
        help_text="Run the execution even if its release is revoked.",
    )
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
    errorMessage = serializers.CharField(source="error_message", allow_null=True, help_text=WITHHELD)
    retryable = serializers.BooleanField()
    retriesObserved = serializers.IntegerField(source="retries_observed")
    stepIndex = serializers.IntegerField(
        source="step_index", help_text="The step at which the failed transition started."
    )
    failedStepIndex = serializers.IntegerField(
        source="failed_step_index", help_text="The step that failed, or the same as `stepIndex` if that is unknown."
    )
    failedStepName = serializers.SerializerMethodField(help_text="Empty if the contract does not name it.")
    failureGroupId = serializers.UUIDField(source="group_id", allow_null=True, help_text="Null for smoke tests.")
    createdAt = serializers.DateTimeField(source="created_at")

    def to_representation(self, instance: DeadLetter) -> dict[str, Any]:
        shown = super().to_representation(instance)
        withhold(["errorMessage"], shown, self.context)
        return shown

    def get_failedStepName(self, letter: DeadLetter) -> str:  # noqa: N802 - DRF's name for the member's method
        return letter.execution.step_at(letter.failed_step_index).name


class DeadLetterFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="pipeline__pipeline_id", method="on_releases")
    releaseVersion = filters.CharFilter(field_name="release_version", method="on_releases")
    errorCode = filters.CharFilter(field_name="error_code")
    reason = filters.ChoiceFilter(choices=DeadLetter.Reason.choices)
    executionId = filters.UUIDFilter(field_name="execution_id")
    failureGroupId = filters.UUIDFilter(field_name="group_id")

    def on_releases(self, rows: QuerySet[DeadLetter], name: str, value: str) -> QuerySet[DeadLetter]:
        return letters_on(rows, **{name: value})


@operation("executions", "redriveExecution", RedriveView, body=RedriveRequest)
@declares(Act.EXECUTION_REDRIVE, Scope.OPERATE)
@refuses(
    errors.TenantNotAllowed,
    errors.ExecutionUnknown,
    errors.RedriveRefused,
    errors.VersionMismatch,
    errors.ExecutionChanged,
    ReleaseRetired,
    errors.ReleaseRevokedConfirmation,
    errors.InteractionUnknown,
    errors.AnswerInvalid,
)
def redrive(view: TenantView, execution_id: uuid.UUID, answer: dict[str, Any] | None, **body: Any) -> Any:
    """Run a failed execution again, from the step that failed, on the release to which it is pinned.

    Its retries are counted from zero again. The body is optional.
    """
    if answer is not None:
        view.require(Scope.ANSWER)
    replaced = Answer(**answer) if answer is not None else None
    return interventions.redrive(view.tenant, execution_id, actor=view.actor, answer=replaced, **body)


@operation("executions", "cancelExecution", ExecutionView, body=CancelRequest)
@declares(Act.EXECUTION_CANCEL, Scope.OPERATE)
@refuses(errors.ExecutionUnknown, errors.CancelRefused, errors.VersionMismatch, errors.ExecutionChanged)
def cancel(view: TenantView, execution_id: uuid.UUID, **body: Any) -> Any:
    """Cancel an execution that has not ended. Cancelling it again changes nothing. The body is optional."""
    return interventions.cancel(view.tenant, execution_id, actor=view.actor, **body)


@listing("executions", DeadLetter, DeadLetterView, DeadLetterFilter, ordering=("-created_at", "-id"))
def dead_letters(view: TenantView) -> Any:
    """The terminal failures of executions, newest first."""
    return letters(view.tenant)


urlpatterns = [
    path("executions/<uuid:execution_id>/redrive", redrive, name="execution-redrive"),
    path("executions/<uuid:execution_id>/cancel", cancel, name="execution-cancel"),
    path("dead-letters", dead_letters, name="dead-letters"),
]
