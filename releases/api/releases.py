"""REST: pipelines, releases and activations of one tenant."""

from typing import Any, ClassVar

from django.urls import path, reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import (
    Flag,
    Identifier,
    Number,
    SegmentIdentifier,
    StrictSerializer,
    Text,
    WholeNumber,
)
from foundation.api.pagination import NewestFirst
from foundation.errors import InvalidRequest
from releases import queries
from releases.activation import activation, policy, revocation
from releases.api.trust_views import AttachmentView, TrustView
from releases.errors import (
    ActiveReleaseChanged,
    ArtifactAltered,
    ArtifactMissing,
    ArtifactStoreUnavailable,
    AttachmentInvalid,
    AttachmentsFull,
    DescriptorInvalid,
    OperationKeyReused,
    PipelineUnknown,
    PolicyInvalid,
    ReasonRequired,
    ReleaseConflict,
    ReleaseNotRegistered,
    ReleaseUnknown,
    SignatureRequired,
)
from releases.models import IDENTITY_LENGTH, Activation, Artifact, Blob, Pipeline, Release, Revocation, SignaturePolicy
from releases.registration import registrar
from releases.registration.uploads import DESCRIPTOR_FIELD, receiving
from releases.states import Status
from releases.trust import trust
from tenancy.api.tenant_view import TenantView
from tenancy.roles import Scope

TENANT = OpenApiParameter("tenant", str, OpenApiParameter.PATH)


class PipelineView(serializers.Serializer[Pipeline]):
    pipelineId = serializers.CharField(source="pipeline_id")
    reasonRequired = serializers.BooleanField(source="reason_required")
    signaturePolicy = serializers.ChoiceField(source="signature_policy", choices=SignaturePolicy.choices)
    validateAnswers = serializers.BooleanField(source="validate_answers")
    retryLimit = serializers.IntegerField(
        source="retry_limit", allow_null=True, help_text="How many retries; null: the coordinator's own."
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
    """What is left out stays as it is; null takes a retry setting of the pipeline's own away."""

    reasonRequired = Flag(required=False, help_text="An activation must say why.")
    signaturePolicy = serializers.ChoiceField(
        choices=SignaturePolicy.choices,
        required=False,
        help_text="Whether an activation asks for a signature of a trusted key.",
    )
    validateAnswers = Flag(required=False, help_text="An await's answer must fit the type that the contract names.")
    retryLimit = WholeNumber(
        required=False,
        allow_null=True,
        limits=(0, policy.MOST_RETRIES),
        help_text="How many retries follow a failed first run.",
    )
    retryDelaySeconds = Number(
        required=False,
        allow_null=True,
        limits=(0, policy.LONGEST_DELAY_SECONDS),
        help_text="The wait before the first retry.",
    )
    retryMultiplier = Number(
        required=False,
        allow_null=True,
        limits=(1, policy.LARGEST_MULTIPLIER),
        help_text="How the wait grows with each retry.",
    )


class ArtifactView(serializers.Serializer[Artifact]):
    artifactId = serializers.CharField(source="artifact_id")
    kind = serializers.CharField()
    uri = serializers.CharField()
    digest = serializers.CharField()
    stepIds = serializers.ListField(child=serializers.CharField(), source="step_ids")
    capabilities = serializers.ListField(child=serializers.CharField())
    size = serializers.IntegerField(source="blob.size", default=None, allow_null=True)
    state = serializers.ChoiceField(
        source="blob.state",
        choices=Blob.State.values,
        default=None,
        allow_null=True,
        help_text="The last verdict on the stored bytes; null where the coordinator keeps none.",
    )


class FindingView(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.ChoiceField(choices=["error", "warning"])


class ReleaseSummary(serializers.Serializer[Release]):
    pipelineId = serializers.CharField(source="pipeline.pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    active = serializers.BooleanField(source="is_active")
    uploadedBy = serializers.CharField(source="uploaded_by")
    createdAt = serializers.DateTimeField(source="created_at")
    statusChangedAt = serializers.DateTimeField(source="status_changed_at")


class RevocationView(serializers.Serializer[Revocation]):
    releaseVersion = serializers.CharField(source="release.release_version")
    actor = serializers.CharField()
    reason = serializers.CharField()
    revokedAt = serializers.DateTimeField(source="revoked_at")


class ReleaseView(ReleaseSummary):
    revocation = RevocationView(default=None, allow_null=True)
    primaryArtifactId = serializers.CharField(source="primary_artifact_id")
    findings = FindingView(many=True)
    artifacts = ArtifactView(many=True)
    trust = serializers.SerializerMethodField()
    attachments = serializers.SerializerMethodField()
    contract = serializers.DictField(
        source="contract.document",
        default=None,
        allow_null=True,
        help_text="pipeline-contract.json; null until it is verified.",
    )
    descriptor = serializers.DictField(help_text="pipeline-release.json, as it was uploaded.")

    @extend_schema_field(TrustView)
    def get_trust(self, release: Release) -> Any:
        return TrustView(trust.of(release)).data

    @extend_schema_field(AttachmentView(many=True))
    def get_attachments(self, release: Release) -> Any:
        return AttachmentView(trust.attached(release), many=True).data


class ActivationView(serializers.Serializer[Activation]):
    sequence = serializers.IntegerField()
    releaseVersion = serializers.CharField(source="release.release_version")
    contractVersion = serializers.CharField(source="release.contract_version")
    previousReleaseVersion = serializers.CharField(source="previous.release_version", default=None, allow_null=True)
    rollback = serializers.BooleanField(source="is_rollback")
    actor = serializers.CharField()
    reason = serializers.CharField()
    activatedAt = serializers.DateTimeField(source="activated_at")


class ActivationRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000, required=False, default="", allow_blank=True)
    expectedReleaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text='Refuse unless this release is active; "" for none.',
    )
    operationKey = Identifier(max_length=200, required=False, allow_null=True, default=None)


class RevocationRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000)


class ReleaseUploadRequest(serializers.Serializer[Any]):
    descriptor = serializers.FileField(help_text="pipeline-release.json")
    contract = serializers.FileField(
        required=False, help_text="pipeline-contract.json, where no artifact holds the contract."
    )
    artifact = serializers.ListField(
        child=serializers.FileField(), required=False, help_text="The files it names, under any field names."
    )
    attachment = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text="Signatures (DSSE), provenance (in-toto) and SBOMs (CycloneDX, SPDX).",
    )


class OldestSequenceLast(NewestFirst):
    ordering = "-sequence"


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class Pipelines(TenantView, ListAPIView[Pipeline]):
    """The tenant's pipelines, each with its active release."""

    serializer_class = PipelineView
    queryset = Pipeline.objects.none()

    def get_queryset(self) -> Any:
        return Pipeline.objects.filter(tenant=self.tenant).select_related("activation__release")


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class OnePipeline(TenantView):
    scopes: ClassVar = {"PATCH": Scope.ADMINISTER}
    refusals: ClassVar = {"GET": (PipelineUnknown,), "PATCH": (PipelineUnknown, PolicyInvalid)}

    @extend_schema(operation_id="pipeline", responses=PipelineView)
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """One pipeline with its active release."""
        return Response(PipelineView(queries.pipeline(self.tenant, pipeline_id)).data)

    @extend_schema(operation_id="changePolicy", request=PolicyRequest, responses=PipelineView)
    def patch(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Change the pipeline's policy. It counts from the next activation, answer and failure on."""
        asked = PolicyRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return Response(PipelineView(policy.change(pipeline, asked.validated_data, actor=self.actor)).data)


@extend_schema(parameters=[TENANT], tags=["releases"])
class Releases(TenantView, ListAPIView[Release]):
    """The pipeline's releases, newest first."""

    scopes: ClassVar = {"POST": Scope.REGISTER}
    refusals: ClassVar = {
        "GET": (PipelineUnknown,),
        "POST": (
            *(DescriptorInvalid, ReleaseConflict, ArtifactStoreUnavailable),
            *(AttachmentInvalid, AttachmentsFull, ReleaseNotRegistered),
        ),
    }
    parser_classes = (MultiPartParser,)
    serializer_class = ReleaseSummary
    queryset = Release.objects.none()

    def get_queryset(self) -> Any:
        pipeline = queries.pipeline(self.tenant, self.kwargs["pipeline_id"])
        return pipeline.releases.select_related("pipeline__activation")

    @extend_schema(
        operation_id="registerRelease",
        request={"multipart/form-data": ReleaseUploadRequest},
        responses={202: ReleaseView, 200: ReleaseView},
    )
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Register a release: the descriptor and the files of its artifacts in one multipart request.

        202: taken in, and being verified; poll the release. 200: equal metadata was registered before.
        """
        with receiving(request._request, tenant) as upload:
            _ = request.data
            if upload.descriptor is None:
                missing = {"field": DESCRIPTOR_FIELD, "code": "REQUIRED", "message": "a file of this name is required"}
                raise InvalidRequest("The request has no file named 'descriptor'.", errors=[missing])
            registration = registrar.register(
                self.tenant,
                upload.descriptor,
                upload.files,
                actor=self.actor,
                pipeline_id=pipeline_id,
                contract=upload.contract,
                attached=upload.attached,
            )
        release = registration.release
        url = reverse("api:release", args=(tenant, pipeline_id, release.release_version))
        return Response(
            ReleaseView(release).data,
            status=status.HTTP_202_ACCEPTED if registration.created else status.HTTP_200_OK,
            headers={"Location": request.build_absolute_uri(url)},
        )


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneRelease(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown, ReleaseUnknown)}

    @extend_schema(operation_id="release", responses=ReleaseView)
    def get(self, request: Request, tenant: str, pipeline_id: str, release_version: str) -> Response:
        """One release with its artifacts, its contract and every finding of its verification."""
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return Response(ReleaseView(queries.release(pipeline, release_version)).data)


@extend_schema(parameters=[TENANT], tags=["activations"])
class Activations(TenantView, ListAPIView[Activation]):
    """The pipeline's history of activations, newest first."""

    scopes: ClassVar = {"POST": Scope.ACTIVATE}
    refusals: ClassVar = {
        "GET": (PipelineUnknown,),
        "POST": (
            *(
                PipelineUnknown,
                ReleaseUnknown,
                ReleaseNotRegistered,
                ReasonRequired,
                ArtifactMissing,
                ArtifactStoreUnavailable,
                ArtifactAltered,
            ),
            *(ActiveReleaseChanged, OperationKeyReused, SignatureRequired),
        ),
    }
    serializer_class = ActivationView
    pagination_class = OldestSequenceLast
    queryset = Activation.objects.none()

    def get_queryset(self) -> Any:
        return queries.history(queries.pipeline(self.tenant, self.kwargs["pipeline_id"]))

    @extend_schema(operation_id="activate", request=ActivationRequest, responses={201: ActivationView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Make a registered release the one that new executions get. Executions that exist stay on theirs."""
        asked = ActivationRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        made = activation.activate(
            queries.release(pipeline, asked.validated_data["releaseVersion"]),
            actor=self.actor,
            reason=asked.validated_data["reason"],
            expected_release_version=asked.validated_data["expectedReleaseVersion"],
            operation_key=asked.validated_data["operationKey"],
        )
        return Response(ActivationView(made).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["releases"])
class Revocations(TenantView):
    scopes: ClassVar = {"POST": Scope.ACTIVATE}
    refusals: ClassVar = {"POST": (PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered, ReasonRequired)}

    @extend_schema(operation_id="revoke", request=RevocationRequest, responses={201: RevocationView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Take a registered release out of use for good. Executions that exist stay on theirs."""
        asked = RevocationRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        release = queries.release(pipeline, asked.validated_data["releaseVersion"])
        made = revocation.revoke(release, actor=self.actor, reason=asked.validated_data["reason"])
        return Response(RevocationView(made).data, status=status.HTTP_201_CREATED)


urlpatterns = [
    path("pipelines", Pipelines.as_view(), name="pipelines"),
    path("pipelines/<str:pipeline_id>", OnePipeline.as_view(), name="pipeline"),
    path("pipelines/<str:pipeline_id>/releases", Releases.as_view(), name="releases"),
    path("pipelines/<str:pipeline_id>/releases/<path:release_version>", OneRelease.as_view(), name="release"),
    path("pipelines/<str:pipeline_id>/revocations", Revocations.as_view(), name="revocations"),
    path("pipelines/<str:pipeline_id>/activations", Activations.as_view(), name="activations"),
]
