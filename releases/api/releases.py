"""REST: the releases of a pipeline with their attachments, and the receipts of deployments."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path, reverse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.errors import InvalidRequest, QuotaExceeded
from releases import errors, queries
from releases.api.multipart import ATTACHMENT_FIELD, ReleaseUpload, receive
from releases.api.pipelines import PausableView, with_pauses
from releases.api.trusted_keys import AttachmentView, FindingView, TrustView
from releases.models import IDENTITY_LENGTH, Artifact, Attachment, Blob, Deployment, Release, Retirement, Revocation
from releases.registration import registrar
from releases.registration.progress import findings_so_far
from releases.states import Status
from releases.trust import attachments, trust
from tenancy.api.operations import listing, operation, refuses
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.quotas import StorageQuotaReached
from tenancy.roles import Scope
from wire.documents.descriptor import Profile
from wire.identity import is_segment


class RevocationView(serializers.Serializer[Revocation]):
    releaseVersion = serializers.CharField(source="release.release_version")
    actor = serializers.CharField()
    reason = serializers.CharField()
    revokedAt = serializers.DateTimeField(source="revoked_at")
    openExecutions = serializers.ChoiceField(
        choices=Revocation.OpenExecutions.choices,
        source="open_executions",
        help_text="The order about the executions that are open: `leave` lets them run, `pause` pauses the release, "
        "`fail` ends them.",
    )
    failedExecutions = serializers.IntegerField(
        source="failed_executions", help_text="How many executions the order `fail` has ended so far."
    )
    completedAt = serializers.DateTimeField(
        source="completed_at",
        allow_null=True,
        help_text="When the order `fail` found no more open executions. Null before that, and for other orders.",
    )


class RetirementView(serializers.Serializer[Retirement]):
    releaseVersion = serializers.CharField(source="release.release_version")
    actor = serializers.CharField()
    reason = serializers.CharField()
    givenUpFailures = serializers.IntegerField(
        source="given_up_failures", help_text="How many failures could still be re-driven."
    )
    retiredAt = serializers.DateTimeField(source="retired_at")


class DistributionView(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField(help_text="Empty if the distribution is locked to a URL.")


class RequiredEnvironmentView(serializers.Serializer[Any]):
    implementation = serializers.CharField(help_text="Such as `cpython`. Empty if the artifact names no interpreter.")
    version = serializers.CharField()
    platform = serializers.CharField()
    distributions = DistributionView(many=True)


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
        help_text="The last verdict on the stored bytes. Null if the coordinator does not store them.",
    )
    resolved = serializers.BooleanField(
        help_text="Whether the verification found the bytes in a Maven repository, because they were not uploaded."
    )
    environment = RequiredEnvironmentView(
        allow_null=True,
        help_text="The Python environment that the artifact requires. Null if it does not describe one.",
    )


class ReleaseSummary(PausableView[Release]):
    pipelineId = serializers.CharField(source="pipeline.pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    active = serializers.BooleanField(source="is_active")
    uploadedBy = serializers.CharField(source="uploaded_by")
    createdAt = serializers.DateTimeField(source="created_at")
    statusChangedAt = serializers.DateTimeField(source="status_changed_at")


class ReleaseView(ReleaseSummary):
    profile = serializers.ChoiceField(
        choices=[profile.value for profile in Profile], help_text="The rules that the descriptor follows."
    )
    descriptorDigest = serializers.CharField(
        source="descriptor_digest",
        help_text="The SHA-256 of the descriptor as it was uploaded. `descriptor` has other bytes.",
    )
    carrierArtifactId = serializers.CharField(
        source="carrier_artifact_id",
        allow_null=True,
        help_text="The artifact that has the contract. Null for the profile `tpf-2026-08`, which names none.",
    )
    revocation = RevocationView(default=None, allow_null=True)
    retirement = RetirementView(default=None, allow_null=True)
    primaryArtifactId = serializers.CharField(source="primary_artifact_id")
    findings = serializers.SerializerMethodField()
    artifacts = ArtifactView(many=True)
    trust = serializers.SerializerMethodField()
    attachments = serializers.SerializerMethodField()
    contract = serializers.DictField(
        source="contract.document",
        default=None,
        allow_null=True,
        help_text="The contract, pipeline-contract.json. Null until it is verified.",
    )
    descriptor = serializers.DictField(
        help_text="The uploaded descriptor, pipeline-release.json, with defaults and nulls."
    )

    @extend_schema_field(FindingView(many=True))
    def get_findings(self, release: Release) -> Any:
        return FindingView(findings_so_far(release), many=True).data

    @extend_schema_field(TrustView)
    def get_trust(self, release: Release) -> Any:
        return TrustView(trust.of(release)).data

    @extend_schema_field(AttachmentView(many=True))
    def get_attachments(self, release: Release) -> Any:
        return AttachmentView(trust.attached(release), many=True).data


class ReleaseUploadRequest(serializers.Serializer[Any]):
    descriptor = serializers.FileField(help_text="pipeline-release.json")
    contract = serializers.FileField(
        required=False, help_text="pipeline-contract.json, if no artifact contains the contract."
    )
    artifact = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text="The files that the descriptor names. Any field name is accepted.",
    )
    attachment = serializers.ListField(
        child=serializers.FileField(),
        required=False,
        help_text="Signatures (DSSE), provenance (in-toto) and SBOMs (CycloneDX, SPDX).",
    )


@extend_schema(parameters=[TENANT], tags=["releases"])
class Releases(TenantView, ListAPIView[Release]):
    """The pipeline's releases, newest first."""

    refusals: ClassVar = {
        "GET": (errors.PipelineUnknown,),
        "POST": (
            errors.DescriptorInvalid,
            errors.ReleaseConflict,
            errors.ArtifactStoreUnavailable,
            errors.AttachmentInvalid,
            errors.AttachmentsFull,
            errors.ReleaseNotRegistered,
            QuotaExceeded,
            StorageQuotaReached,
        ),
    }
    parser_classes = (MultiPartParser,)
    serializer_class = ReleaseSummary
    queryset = Release.objects.none()

    def get_queryset(self) -> Any:
        pipeline = queries.pipeline(self.tenant, self.kwargs["pipeline_id"])
        return with_pauses(pipeline.releases.select_related("pipeline__activation"))

    @declares(Act.RELEASE_UPLOAD, Scope.REGISTER)
    @extend_schema(
        operation_id="registerRelease",
        request={"multipart/form-data": ReleaseUploadRequest},
        responses={202: ReleaseView, 200: ReleaseView},
    )
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Register a release: the descriptor and the files of its artifacts in one multipart request.

        202: the release is accepted and its verification has started. Poll the release for the verdict. 200: the
        release is already registered with equal metadata.
        """
        with receive(request._request, tenant) as upload:
            _ = request.data  # parses the body
            registration = registrar.register(
                self.tenant,
                upload.require_descriptor(),
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


@operation("releases", "release", ReleaseView, method="GET")
@refuses(errors.PipelineUnknown, errors.ReleaseUnknown)
def one_release(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """One release with its artifacts, its contract and the findings of its verification."""
    return queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)


class DeploymentView(serializers.Serializer[Deployment]):
    deploymentId = serializers.UUIDField(source="id")
    pipelineId = serializers.CharField(source="release.pipeline.pipeline_id")
    releaseVersion = serializers.CharField(source="release.release_version")
    application = serializers.CharField()
    environment = serializers.CharField()
    descriptorDigest = serializers.CharField(
        source="descriptor_digest", help_text="The SHA-256 of the descriptor that was deployed."
    )
    actor = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")


class DeploymentFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="release__pipeline__pipeline_id")
    environment = filters.CharFilter()


@listing("releases", Deployment, DeploymentView, DeploymentFilter, ordering=("-created_at", "-id"))
def deployments(view: TenantView) -> Any:
    """The releases that the deployment API registered, newest first: what was deployed, where, and by whom.

    A deployment is a receipt. It activates nothing.
    """
    return Deployment.objects.filter(tenant=view.tenant).select_related("release__pipeline")


class AttachmentRequest(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField(max_length=IDENTITY_LENGTH, trim_whitespace=False)
    attachment = serializers.ListField(
        child=serializers.FileField(), help_text="Signatures (DSSE), provenance (in-toto), SBOMs (CycloneDX, SPDX)."
    )


@extend_schema(parameters=[TENANT], tags=["releases"])
class Attachments(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.PipelineUnknown,
            errors.ReleaseUnknown,
            errors.ReleaseNotRegistered,
            errors.AttachmentInvalid,
            errors.AttachmentsFull,
        )
    }
    parser_classes = (MultiPartParser,)

    @declares(Act.RELEASE_ATTACH, Scope.REGISTER)
    @extend_schema(operation_id="attach", request={"multipart/form-data": AttachmentRequest}, responses=ReleaseView)
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Attach signatures, provenance or SBOMs to a release. Documents that it already has are ignored."""
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        with receive(request._request, tenant) as upload:
            release = queries.release(pipeline, _release_version(request.data, upload))
            attachments.attach(release, upload.attached, actor=self.actor)
        return Response(ReleaseView(release).data)


def _release_version(form: Any, upload: ReleaseUpload) -> str:
    """Return the release version of a request that has a release version, attachments and nothing else.

    Raises `InvalidRequest` for any other request.
    """
    if upload.files or upload.descriptor is not None or set(form) - {"releaseVersion", ATTACHMENT_FIELD}:
        raise InvalidRequest("The request may only have 'releaseVersion' and files named 'attachment'.")
    version = form.get("releaseVersion")
    if not isinstance(version, str) or not is_segment(version) or not upload.attached:
        missing = "attachment" if upload.attached == [] else "releaseVersion"
        required = {"field": missing, "code": "REQUIRED", "message": "is required"}
        raise InvalidRequest("The request needs 'releaseVersion' and a file 'attachment'.", errors=[required])
    return version


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneAttachment(TenantView):
    refusals: ClassVar = {"GET": (errors.PipelineUnknown, errors.AttachmentUnknown)}

    @extend_schema(operation_id="attachment", responses={(200, "application/json"): OpenApiTypes.OBJECT})
    def get(self, request: Request, tenant: str, pipeline_id: str, digest: str) -> HttpResponse:
        """The bytes of an attachment, unchanged."""
        return download(attachments.find(queries.pipeline(self.tenant, pipeline_id), digest))


def download(attachment: Attachment) -> HttpResponse:
    """Return a response with the bytes of `attachment`, which browsers save and never display.

    The document comes from a client, so its content is not trusted.
    """
    name = f"{attachment.kind}-{attachment.digest.removeprefix('sha256:')[:12]}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(bytes(attachment.content), content_type="application/json", headers=headers)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/releases", Releases.as_view(), name="releases"),
    path("pipelines/<str:pipeline_id>/releases/<path:release_version>", one_release, name="release"),
    path("deployments", deployments, name="deployments"),
    path("pipelines/<str:pipeline_id>/attachments", Attachments.as_view(), name="attachments"),
    path("pipelines/<str:pipeline_id>/attachments/<str:digest>", OneAttachment.as_view(), name="attachment"),
]
