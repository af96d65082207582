"""REST: gradual activations of a pipeline."""

import uuid
from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from foundation.api.fields import Identifier, Number, SegmentIdentifier, StrictSerializer, Text, WholeNumber
from governance.activation.api import OPERATION_KEY_HELP, REFUSALS, ExpectingRequest
from governance.gradual import changes, evidence, operations, plan
from governance.gradual.plan import Bounds, Plan
from releases import errors, queries
from releases.models import IDENTITY_LENGTH, GradualActivation
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

_DEFAULT = Bounds()


class StepRequest(StrictSerializer):
    share = Number(limits=plan.SHARES, help_text="In percent, with at most two decimal places. Each step has more.")
    minimumSample = WholeNumber(
        limits=plan.SAMPLES, help_text="How many executions of the candidate must have ended before the next step."
    )
    minimumMinutes = WholeNumber(limits=plan.MINUTES, help_text="How long the step lasts at least.")


def _names(meaning: str) -> serializers.ListField:
    name = Identifier(max_length=plan.LONGEST_NAME)
    return serializers.ListField(
        child=name, max_length=plan.MOST_NAMES, required=False, default=list, help_text=meaning
    )


class GroupsRequest(StrictSerializer):
    tags = _names("Executions with one of these tags get the candidate.")
    tokens = _names("Executions that tokens with these names submit get the candidate.")


class BoundsRequest(StrictSerializer):
    failurePercentagePoints = Number(
        limits=plan.POINTS,
        required=False,
        default=_DEFAULT.failure_percentage_points,
        help_text="By how many percentage points the candidate's failure rate may exceed that of the active release.",
    )
    durationFactor = Number(
        limits=plan.FACTORS,
        required=False,
        default=_DEFAULT.duration_factor,
        help_text="By which factor the candidate's median duration may exceed that of the active release.",
    )
    significance = Number(
        limits=plan.SIGNIFICANCES,
        required=False,
        default=_DEFAULT.significance,
        help_text="A difference counts if its probability by chance is below this.",
    )


class PlanRequest(StrictSerializer):
    steps = serializers.ListField(
        child=StepRequest(), min_length=1, max_length=plan.MOST_STEPS, help_text="The shares, in their order."
    )
    groups = GroupsRequest(
        required=False, default=dict, help_text="Executions that get the candidate besides the shares."
    )
    bounds = BoundsRequest(required=False, default=dict, help_text="When the candidate is withdrawn automatically.")


class GradualActivationRequest(PlanRequest, ExpectingRequest):
    releaseVersion = SegmentIdentifier(
        source="release_version", max_length=IDENTITY_LENGTH, help_text="The candidate, a registered release."
    )


class OperationRequest(StrictSerializer):
    reason = Text(max_length=1000, required=False, default="", allow_blank=True)
    expectedReleaseVersion = SegmentIdentifier(
        source="expected_release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="Reject the request unless this release is active.",
    )
    operationKey = Identifier(
        source="operation_key",
        max_length=200,
        required=False,
        allow_null=True,
        default=None,
        help_text=OPERATION_KEY_HELP,
    )


class StepOperationRequest(OperationRequest):
    expectedStep = WholeNumber(
        source="expected_step",
        required=False,
        allow_null=True,
        default=None,
        help_text="Reject the request unless this step is the current one, counted from 0.",
    )


class GradualWithdrawalRequest(OperationRequest):
    reason = Text(max_length=1000)


class StepView(serializers.Serializer[Any]):
    share = serializers.FloatField()
    minimumSample = serializers.IntegerField()
    minimumMinutes = serializers.IntegerField()


class GroupsView(serializers.Serializer[Any]):
    tags = serializers.ListField(child=serializers.CharField())
    tokens = serializers.ListField(child=serializers.CharField())


class BoundsView(serializers.Serializer[Any]):
    failurePercentagePoints = serializers.FloatField()
    durationFactor = serializers.FloatField()
    significance = serializers.FloatField()


class PlanView(serializers.Serializer[Any]):
    steps = StepView(many=True)
    groups = GroupsView()
    bounds = BoundsView()


class SampleView(serializers.Serializer[evidence.Sample]):
    ended = serializers.IntegerField(help_text="At most 1,000, the newest.")
    failed = serializers.IntegerField()
    timed = serializers.IntegerField(help_text="Those that succeeded without an await or a pause.")
    medianSeconds = serializers.FloatField(source="median_seconds", allow_null=True)


class EvidenceView(serializers.Serializer[evidence.Evidence]):
    candidate = SampleView(help_text="Executions of the current step.")
    baseline = SampleView(help_text="Executions since the start.")
    failureProbability = serializers.FloatField(
        source="failure_probability", allow_null=True, help_text="Fisher's exact test. Null for too small a sample."
    )
    durationProbability = serializers.FloatField(
        source="duration_probability", allow_null=True, help_text="Mann-Whitney U test. Null for too small samples."
    )
    crossed = serializers.ChoiceField(
        choices=GradualActivation.Cause.choices, allow_null=True, help_text="The bound that the candidate crosses."
    )
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="What the plan asks for before the promotion and does not have. If there is anything, a promotion "
        "requires a reason, and the history names it.",
    )


class GradualActivationView(serializers.Serializer[GradualActivation]):
    gradualActivationId = serializers.UUIDField(source="id")
    candidateReleaseVersion = serializers.CharField(source="candidate.release_version")
    baselineReleaseVersion = serializers.CharField(
        source="baseline.release_version", help_text="The release that was active at the start."
    )
    status = serializers.ChoiceField(choices=GradualActivation.Status.choices)
    steps = StepView(many=True)
    step = serializers.IntegerField(help_text="The index of the current or last step, from 0.")
    groups = GroupsView()
    bounds = BoundsView()
    actor = serializers.CharField()
    reason = serializers.CharField()
    startedAt = serializers.DateTimeField(source="started_at")
    stepStartedAt = serializers.DateTimeField(source="step_started_at")
    cause = serializers.ChoiceField(choices=GradualActivation.Cause.choices, allow_null=True)
    endedBy = serializers.CharField(source="ended_by", allow_null=True)
    endReason = serializers.CharField(source="end_reason", allow_null=True)
    endedAt = serializers.DateTimeField(source="ended_at", allow_null=True)


class OneGradualActivationView(GradualActivationView):
    evidence = serializers.SerializerMethodField()

    @extend_schema_field(EvidenceView(allow_null=True))
    def get_evidence(self, gradual: GradualActivation) -> dict[str, Any] | None:
        measured = evidence.evidence(gradual)
        return None if measured is None else dict(EvidenceView(measured).data)


@listing("activations", GradualActivation, GradualActivationView, ordering=("-started_at", "-id"))
@refuses(errors.PipelineUnknown)
def gradual_activations(view: TenantView, pipeline_id: str) -> Any:
    """The gradual activations of the pipeline, newest first."""
    return operations.all_of(queries.pipeline(view.tenant, pipeline_id))


@operation("activations", "startGradualActivation", {201: OneGradualActivationView}, body=GradualActivationRequest)
@declares(Act.GRADUAL_ACTIVATION_START, Scope.ACTIVATE)
@refuses(
    *REFUSALS,
    errors.GradualActivationInvalid,
    errors.NoActiveRelease,
    errors.ActiveReleaseRevoked,
    errors.CandidateActive,
    errors.GradualActivationRunning,
)
def start_gradual_activation(view: TenantView, pipeline_id: str, release_version: str, **body: Any) -> Any:
    """Give a candidate the share of the first step. The active release gets the other executions.

    The candidate is withdrawn if it crosses a bound. Otherwise each step follows automatically. The last one
    remains until the candidate is promoted or withdrawn.
    """
    candidate = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    planned = Plan.from_json(body.pop("steps"), body.pop("groups"), body.pop("bounds"))
    return changes.start(candidate, planned, actor=view.actor, **body)


@operation("activations", "gradualActivation", OneGradualActivationView, method="GET")
@refuses(errors.PipelineUnknown, errors.GradualActivationUnknown)
def one_gradual_activation(view: TenantView, pipeline_id: str, gradual_id: uuid.UUID) -> Any:
    """One gradual activation, with what the executions of both releases show."""
    return operations.gradual_activation(queries.pipeline(view.tenant, pipeline_id), gradual_id)


_REFUSALS = (
    errors.PipelineUnknown,
    errors.GradualActivationUnknown,
    errors.GradualActivationEnded,
    errors.ActiveReleaseChanged,
    errors.OperationKeyReused,
)


@operation("activations", "stepGradualActivation", OneGradualActivationView, body=StepOperationRequest)
@declares(Act.GRADUAL_ACTIVATION_STEP, Scope.ACTIVATE)
@refuses(*_REFUSALS, errors.StepChanged, errors.NoNextStep, errors.ApprovalRequired)
def next_step(view: TenantView, pipeline_id: str, gradual_id: uuid.UUID, **body: Any) -> Any:
    """Move to the next step now, with any sample. The body is optional."""
    gradual = operations.gradual_activation(queries.pipeline(view.tenant, pipeline_id), gradual_id)
    return changes.move_on(gradual, actor=view.actor, **body)


@operation("activations", "promote", OneGradualActivationView, body=OperationRequest)
@declares(Act.GRADUAL_ACTIVATION_PROMOTE, Scope.ACTIVATE)
@refuses(*dict.fromkeys((*_REFUSALS, *REFUSALS)))
def promote(view: TenantView, pipeline_id: str, gradual_id: uuid.UUID, **body: Any) -> Any:
    """Make the candidate the active release, at any step. Existing executions keep their release.

    If the evidence misses something that the plan asks for, a `reason` is required. Otherwise the body is optional.
    """
    gradual = operations.gradual_activation(queries.pipeline(view.tenant, pipeline_id), gradual_id)
    return changes.promote(gradual, actor=view.actor, **body)


@operation("activations", "withdrawCandidate", OneGradualActivationView, body=GradualWithdrawalRequest)
@declares(Act.GRADUAL_ACTIVATION_WITHDRAW, Scope.ROLL_BACK)
@refuses(*_REFUSALS, errors.ReasonRequired)
def withdraw_candidate(view: TenantView, pipeline_id: str, gradual_id: uuid.UUID, **body: Any) -> Any:
    """Give the candidate no further executions. Each later submission gets the active release."""
    gradual = operations.gradual_activation(queries.pipeline(view.tenant, pipeline_id), gradual_id)
    return changes.withdraw(gradual, actor=view.actor, **body)


_ALL = "pipelines/<str:pipeline_id>/gradual-activations"
_ONE = f"{_ALL}/<uuid:gradual_id>"
urlpatterns = [
    path(_ALL, either(gradual_activations, start_gradual_activation), name="gradual-activations"),
    path(_ONE, one_gradual_activation, name="gradual-activation"),
    path(f"{_ONE}/step", next_step, name="gradual-activation-step"),
    path(f"{_ONE}/promotion", promote, name="gradual-activation-promotion"),
    path(f"{_ONE}/withdrawal", withdraw_candidate, name="gradual-activation-withdrawal"),
]
