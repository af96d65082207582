"""REST: direct uploads. A client sends large artifacts to the artifact store itself."""

from typing import Any

from django.urls import path, reverse
from rest_framework import serializers, status
from rest_framework.response import Response

from foundation.api.fields import StrictSerializer, WholeNumber
from foundation.errors import PayloadTooLarge, QuotaExceeded
from releases import errors
from releases.api.trusted_keys import FindingView
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from releases.states import UploadStatus
from tenancy.api.operations import operation, refuses
from tenancy.api.tenant_view import TenantView
from tenancy.audit.acts import Act, declares
from tenancy.quotas import StorageQuotaReached
from tenancy.roles import Scope

MAX_SIZE = 5 * 1024**3


class ArtifactUploadRequest(StrictSerializer):
    digest = serializers.RegexField(r"\Asha256:[0-9a-f]{64}\Z", max_length=71, trim_whitespace=False)
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
    status = serializers.ChoiceField(source="upload.status", choices=[each.value for each in UploadStatus])
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
    path("artifact-uploads", begin_upload, name="uploads"),
    path("artifact-uploads/<str:upload_id>", one_upload, name="upload"),
    path("artifact-uploads/<str:upload_id>/complete", complete_upload, name="complete-upload"),
]
