"""REST: the tenant's pipelines and their policies."""

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Flag, Number, StrictSerializer, WholeNumber
from releases import queries
from releases.activation import policy
from releases.api.pauses import PausableView, with_pauses
from releases.errors import PipelineUnknown, PolicyInvalid
from releases.models import LONGEST_ROLLBACK_DAYS, MissingArtifacts, Pipeline, SignaturePolicy, UnverifiedWorkers
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.roles import Scope


class PipelineView(PausableView[Pipeline]):
    pipelineId = serializers.CharField(source="pipeline_id")
    reasonRequired = serializers.BooleanField(source="reason_required")
    signaturePolicy = serializers.ChoiceField(source="signature_policy", choices=SignaturePolicy.choices)
    validateAnswers = serializers.BooleanField(source="validate_answers")
    unverifiedWorkers = serializers.ChoiceField(source="unverified_workers", choices=UnverifiedWorkers.choices)
    missingArtifacts = serializers.ChoiceField(source="missing_artifacts", choices=MissingArtifacts.choices)
    rollBackDays = serializers.IntegerField(
        source="rollback_days",
        help_text="How many days ago a release may have been active so that the scope `releases:roll-back` suffices.",
    )
    application = serializers.CharField(
        help_text="The application of the framework that deploys the pipeline. Empty if none does."
    )
    retryLimit = serializers.IntegerField(
        source="retry_limit",
        allow_null=True,
        help_text="The number of retries. If null, the coordinator's default applies.",
    )
    retryDelaySeconds = serializers.FloatField(source="retry_delay_seconds", allow_null=True)
    retryMultiplier = serializers.FloatField(source="retry_multiplier", allow_null=True)
    activeReleaseVersion = serializers.CharField(
        source="activation.release.release_version", default=None, allow_null=True
    )
    activeContractVersion = serializers.CharField(
        source="activation.release.contract_version", default=None, allow_null=True
    )
    createdAt = serializers.DateTimeField(source="created_at")


class PolicyRequest(StrictSerializer):
    """Changes to a policy. Omitted members do not change. A retry setting that is null resets to the default."""

    reasonRequired = Flag(required=False, help_text="Whether an activation needs a reason.")
    signaturePolicy = serializers.ChoiceField(
        choices=SignaturePolicy.choices,
        required=False,
        help_text="Whether an activation needs a signature by a trusted key.",
    )
    validateAnswers = Flag(
        required=False, help_text="Whether an answer to an await must match the type that the contract names."
    )
    unverifiedWorkers = serializers.ChoiceField(
        choices=UnverifiedWorkers.choices,
        required=False,
        help_text="Whether workers get work that report that their code comes from a folder and not from an artifact.",
    )
    missingArtifacts = serializers.ChoiceField(
        choices=MissingArtifacts.choices,
        required=False,
        help_text="Whether a release is registered whose bytes were not uploaded and are in no repository.",
    )
    rollBackDays = WholeNumber(
        required=False,
        limits=(1, LONGEST_ROLLBACK_DAYS),
        help_text="How many days ago a release may have been active so that the scope `releases:roll-back` suffices.",
    )
    retryLimit = WholeNumber(
        required=False,
        allow_null=True,
        limits=(0, policy.MAX_RETRIES),
        help_text="The number of retries after a failed first attempt.",
    )
    retryDelaySeconds = Number(
        required=False,
        allow_null=True,
        limits=(0, policy.LONGEST_RETRY_DELAY.total_seconds()),
        help_text="The delay before the first retry.",
    )
    retryMultiplier = Number(
        required=False,
        allow_null=True,
        limits=(1, policy.MAX_MULTIPLIER),
        help_text="The factor by which the delay grows with each retry.",
    )


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class Pipelines(TenantView, ListAPIView[Pipeline]):
    """The tenant's pipelines, each with its active release."""

    serializer_class = PipelineView
    queryset = Pipeline.objects.none()

    def get_queryset(self) -> Any:
        return with_pauses(Pipeline.objects.filter(tenant=self.tenant).select_related("activation__release"))


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class OnePipeline(TenantView):
    scopes: ClassVar = {"PATCH": Scope.ADMINISTER}
    acts: ClassVar = {"PATCH": "policy.change"}
    refusals: ClassVar = {"GET": (PipelineUnknown,), "PATCH": (PipelineUnknown, PolicyInvalid)}

    @extend_schema(operation_id="pipeline", responses=PipelineView)
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """One pipeline with its active release."""
        return Response(PipelineView(queries.pipeline(self.tenant, pipeline_id)).data)

    @extend_schema(operation_id="changePolicy", request=PolicyRequest, responses=PipelineView)
    def patch(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Change the pipeline's policy. It applies from the next activation, answer, failure and claim on."""
        body = PolicyRequest(data=request.data)
        body.is_valid(raise_exception=True)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return Response(PipelineView(policy.change(pipeline, body.validated_data, actor=self.actor)).data)


urlpatterns = [
    path("pipelines", Pipelines.as_view(), name="pipelines"),
    path("pipelines/<str:pipeline_id>", OnePipeline.as_view(), name="pipeline"),
]
