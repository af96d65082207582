"""REST: the releases of a pipeline with their attachments, the receipts of deployments, and direct uploads."""

from typing import Any

from django.urls import path, reverse
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, status
from rest_framework.response import Response

from foundation.api.fields import SegmentIdentifier, StrictSerializer, WholeNumber
from foundation.errors import PayloadTooLarge, QuotaExceeded
from releases import errors, queries
from releases.api import PausableView, with_pauses
from releases.models import IDENTITY_LENGTH, Artifact, ArtifactUpload, Blob, Deployment, Release, Retirement, Revocation
from releases.registration import direct_uploads, registrar
from releases.registration.multipart import receive
from releases.registration.progress import findings_so_far
from releases.states import Status, UploadStatus
from releases.step_policies import StepPolicy, effective_limits, policies_of
from releases.trust import attachments, trust
from releases.trust.api import AttachmentView, FindingView, TrustView
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.quotas import StorageQuotaReached
from tenancy.roles import Scope
from wire.documents.descriptor import Profile

MAX_SIZE = 5 * 1024**3


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


class StepPolicyView(serializers.Serializer[StepPolicy]):
    step = serializers.CharField(help_text="The authored name of the step.")
    declared = serializers.DictField(help_text="What its code declares, with the members of `steps` in `declarations`.")
    effective = serializers.DictField(help_text="What counts, with the same members.")


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
    declarations = serializers.DictField(
        child=serializers.DictField(),
        help_text="What the artifacts declare besides the contract, such as the policies of steps by their names.",
    )
    stepPolicies = serializers.SerializerMethodField(
        method_name="get_step_policies",
        help_text="What counts for retries and time of steps. The policy of the pipeline may change what they declare.",
    )
    concurrency = serializers.SerializerMethodField(
        method_name="get_concurrency",
        help_text="How many executions start and are in progress at once. The policy of the pipeline may change the "
        "numbers of what is declared. Empty if nothing is.",
    )
    descriptor = serializers.DictField(
        help_text="The uploaded descriptor, pipeline-release.json, with defaults and nulls."
    )

    @extend_schema_field(FindingView(many=True))
    def get_findings(self, release: Release) -> Any:
        return FindingView(findings_so_far(release), many=True).data

    @extend_schema_field(TrustView)
    def get_trust(self, release: Release) -> Any:
        return TrustView(trust.trust_of(release)).data

    @extend_schema_field(StepPolicyView(many=True))
    def get_step_policies(self, release: Release) -> Any:
        policies: Any = list(policies_of(release).values())
        return StepPolicyView(policies, many=True).data

    @extend_schema_field(serializers.DictField())
    def get_concurrency(self, release: Release) -> dict[str, Any]:
        return effective_limits(release)

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


@listing("releases", Release, ReleaseSummary)
@refuses(errors.PipelineUnknown)
def releases(view: TenantView, pipeline_id: str) -> Any:
    """The pipeline's releases, newest first."""
    return with_pauses(queries.pipeline(view.tenant, pipeline_id).releases.select_related("pipeline__activation"))


@operation("releases", "registerRelease", {202: ReleaseView, 200: ReleaseView}, form=ReleaseUploadRequest)
@declares(Act.RELEASE_UPLOAD, Scope.REGISTER)
@refuses(
    errors.DescriptorInvalid,
    errors.ReleaseConflict,
    errors.ArtifactStoreUnavailable,
    errors.AttachmentInvalid,
    errors.AttachmentsFull,
    errors.ReleaseNotRegistered,
    QuotaExceeded,
    StorageQuotaReached,
)
def register_release(view: TenantView, pipeline_id: str) -> Any:
    """Register a release: the descriptor and the files of its artifacts in one multipart request.

    202: the release is accepted and its verification has started. Poll the release for the verdict. 200: the
    release is already registered with equal metadata.
    """
    with receive(view.request._request, view.tenant.slug) as upload:
        _ = view.request.data  # parses the body
        registration = registrar.register(
            view.tenant,
            upload.require_descriptor(),
            upload.files,
            actor=view.actor,
            pipeline_id=pipeline_id,
            contract=upload.contract,
            attached=upload.attached,
        )
    release = registration.release
    url = reverse("api:release", args=(view.tenant.slug, pipeline_id, release.release_version))
    return Response(
        ReleaseView(release).data,
        status=status.HTTP_202_ACCEPTED if registration.created else status.HTTP_200_OK,
        headers={"Location": view.request.build_absolute_uri(url)},
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
    environment = filters.CharFilter(help_text="Only in this environment.")


@listing("releases", Deployment, DeploymentView, DeploymentFilter, ordering=("-created_at", "-id"))
def deployments(view: TenantView) -> Any:
    """The releases that the deployment API registered, newest first: what was deployed, where, and by whom.

    A deployment is a receipt. It activates nothing.
    """
    return Deployment.objects.filter(tenant=view.tenant).select_related("release__pipeline")


class AttachmentRequest(serializers.Serializer[Any]):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    attachment = serializers.ListField(
        child=serializers.FileField(),
        min_length=1,
        help_text="Signatures (DSSE), provenance (in-toto), SBOMs (CycloneDX, SPDX).",
    )


@operation("releases", "attach", ReleaseView, form=AttachmentRequest)
@declares(Act.RELEASE_ATTACH, Scope.REGISTER)
@refuses(
    errors.PipelineUnknown,
    errors.ReleaseUnknown,
    errors.ReleaseNotRegistered,
    errors.AttachmentInvalid,
    errors.AttachmentsFull,
)
def attach(view: TenantView, pipeline_id: str) -> Any:
    """Attach signatures, provenance or SBOMs to a release. Documents that it already has are ignored."""
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    with receive(view.request._request, view.tenant.slug) as upload:
        release = queries.release(pipeline, upload.require_release_version(view.request.data))
        attachments.attach(release, upload.attached, actor=view.actor)
    return release


class ArtifactUploadRequest(StrictSerializer):
    digest = serializers.RegexField(
        r"\Asha256:[0-9a-f]{64}\Z",
        max_length=71,
        trim_whitespace=False,
        help_text="`sha256:` and the SHA-256 of the bytes in hex.",
    )
    size = WholeNumber(min_value=1, max_value=MAX_SIZE, help_text="In bytes.")


class PartView(serializers.Serializer[direct_uploads.Part]):
    partNumber = serializers.IntegerField(source="number")
    offset = serializers.IntegerField()
    size = serializers.IntegerField()
    url = serializers.CharField(help_text="PUT exactly these bytes to this address. Start within 15 minutes.")


class ArtifactUploadView(serializers.Serializer[Any]):
    uploadId = serializers.UUIDField(source="upload.id")
    digest = serializers.CharField(source="upload.digest")
    size = serializers.IntegerField(source="upload.size")
    status = serializers.ChoiceField(source="upload.status", choices=[choice.value for choice in UploadStatus])
    finding = FindingView(source="upload.finding", allow_null=True, help_text="Why the upload was rejected.")
    received = serializers.IntegerField(help_text="The number of bytes that have arrived.")
    missing = PartView(many=True, help_text="The first parts that are missing. If there are none, complete the upload.")
    createdAt = serializers.DateTimeField(source="upload.created_at")
    expiresAt = serializers.DateTimeField(source="upload.expires_at")


def represent(upload: ArtifactUpload) -> dict[str, Any]:
    """Return the JSON representation of `upload`, with its missing parts. Raises `ArtifactStoreUnavailable`."""
    received, missing = direct_uploads.missing(upload)
    return dict(ArtifactUploadView({"upload": upload, "received": received, "missing": missing}).data)


@operation("releases", "beginUpload", {201: ArtifactUploadView}, body=ArtifactUploadRequest)
@declares(Act.ARTIFACT_UPLOAD_BEGIN, Scope.REGISTER)
@refuses(
    errors.DirectUploadsUnavailable,
    errors.DirectUploadsFull,
    PayloadTooLarge,
    errors.ArtifactStoreUnavailable,
    QuotaExceeded,
    StorageQuotaReached,
)
def begin_upload(view: TenantView, digest: str, size: int) -> Any:
    """Begin a direct upload of an artifact, or resume it: requests for the same bytes return the same upload.

    Releases of the tenant may name the digest of a STORED upload without sending the bytes again.
    """
    upload = direct_uploads.begin(view.tenant, digest=digest, size=size, actor=view.actor)
    url = reverse("api:upload", args=(view.tenant.slug, upload.pk))
    headers = {"Location": view.request.build_absolute_uri(url)}
    return Response(represent(upload), status=status.HTTP_201_CREATED, headers=headers)


@operation("releases", "upload", ArtifactUploadView, method="GET")
@declares(None, Scope.REGISTER)
@refuses(errors.UploadUnknown, errors.DirectUploadsUnavailable, errors.ArtifactStoreUnavailable)
def one_upload(view: TenantView, upload_id: str) -> Any:
    """An upload, with the address of each of the first missing parts."""
    return Response(represent(direct_uploads.find(view.tenant, upload_id)))


@operation("releases", "completeUpload", {202: ArtifactUploadView})
@declares(Act.ARTIFACT_UPLOAD_COMPLETE, Scope.REGISTER)
@refuses(
    errors.UploadUnknown,
    errors.UploadNotOpen,
    errors.UploadIncomplete,
    errors.DirectUploadsUnavailable,
    errors.ArtifactStoreUnavailable,
)
def complete_upload(view: TenantView, upload_id: str) -> Any:
    """Verify the bytes. The status becomes STORED, or REJECTED with a finding. Poll the upload for it."""
    upload = direct_uploads.complete(direct_uploads.find(view.tenant, upload_id), actor=view.actor)
    return Response(represent(upload), status=status.HTTP_202_ACCEPTED)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/releases", either(releases, register_release), name="releases"),
    path("pipelines/<str:pipeline_id>/releases/<path:release_version>", one_release, name="release"),
    path("deployments", deployments, name="deployments"),
    path("pipelines/<str:pipeline_id>/attachments", attach, name="attachments"),
    path("artifact-uploads", begin_upload, name="uploads"),
    path("artifact-uploads/<str:upload_id>", one_upload, name="upload"),
    path("artifact-uploads/<str:upload_id>/complete", complete_upload, name="complete-upload"),
]
