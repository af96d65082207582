"""REST: direct uploads. A client sends large artifacts to the artifact store itself."""

from typing import Any, ClassVar

from django.urls import path, reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import StrictSerializer, WholeNumber
from foundation.errors import PayloadTooLarge, QuotaExceeded
from releases.api.trusted_keys import FindingView
from releases.errors import (
    ArtifactStoreUnavailable,
    DirectUploadsFull,
    DirectUploadsUnavailable,
    UploadIncomplete,
    UploadNotOpen,
    UploadUnknown,
)
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from releases.states import UploadStatus
from tenancy.api.tenant_view import TENANT, TenantView
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


class ArtifactUploadView(serializers.Serializer[ArtifactUpload]):
    uploadId = serializers.UUIDField(source="id")
    digest = serializers.CharField()
    size = serializers.IntegerField()
    status = serializers.ChoiceField(choices=[each.value for each in UploadStatus])
    finding = FindingView(allow_null=True, help_text="Why the upload was rejected.")
    received = serializers.IntegerField(help_text="The number of bytes that have arrived.")
    missing = PartView(many=True, help_text="The first parts that are missing. If there are none, complete the upload.")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")


def represent(upload: ArtifactUpload) -> dict[str, Any]:
    """Return the JSON representation of `upload`, with its missing parts. Raises `ArtifactStoreUnavailable`."""
    received, missing = direct_uploads.missing(upload)
    upload.received, upload.missing = received, missing  # type: ignore[attr-defined]
    return dict(ArtifactUploadView(upload).data)


@extend_schema(parameters=[TENANT], tags=["releases"])
class ArtifactUploads(TenantView):
    refusals: ClassVar = {
        "POST": (
            *(DirectUploadsUnavailable, DirectUploadsFull, PayloadTooLarge, ArtifactStoreUnavailable),
            *(QuotaExceeded, StorageQuotaReached),
        )
    }

    @declares(Act.ARTIFACT_UPLOAD_BEGIN, Scope.REGISTER)
    @extend_schema(operation_id="beginUpload", request=ArtifactUploadRequest, responses={201: ArtifactUploadView})
    def post(self, request: Request, tenant: str) -> Response:
        """Begin a direct upload of an artifact, or resume it: requests for the same bytes return the same upload.

        Releases of the tenant may name the digest of a STORED upload without sending the bytes again.
        """
        body = ArtifactUploadRequest.validated(request.data)
        upload = direct_uploads.begin(self.tenant, **body, actor=self.actor)
        url = reverse("api:upload", args=(tenant, upload.pk))
        headers = {"Location": request.build_absolute_uri(url)}
        return Response(represent(upload), status=status.HTTP_201_CREATED, headers=headers)


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneArtifactUpload(TenantView):
    refusals: ClassVar = {"GET": (UploadUnknown, DirectUploadsUnavailable, ArtifactStoreUnavailable)}

    @declares(None, Scope.REGISTER)
    @extend_schema(operation_id="upload", responses=ArtifactUploadView)
    def get(self, request: Request, tenant: str, upload_id: str) -> Response:
        """An upload, with the address of each of the first missing parts."""
        return Response(represent(direct_uploads.find(self.tenant, upload_id)))


@extend_schema(parameters=[TENANT], tags=["releases"])
class CompleteArtifactUpload(TenantView):
    refusals: ClassVar = {
        "POST": (UploadUnknown, UploadNotOpen, UploadIncomplete, DirectUploadsUnavailable, ArtifactStoreUnavailable)
    }

    @declares(Act.ARTIFACT_UPLOAD_COMPLETE, Scope.REGISTER)
    @extend_schema(operation_id="completeUpload", request=None, responses={202: ArtifactUploadView})
    def post(self, request: Request, tenant: str, upload_id: str) -> Response:
        """Verify the bytes. The status becomes STORED, or REJECTED with a finding. Poll the upload for it."""
        upload = direct_uploads.complete(direct_uploads.find(self.tenant, upload_id), actor=self.actor)
        return Response(represent(upload), status=status.HTTP_202_ACCEPTED)


urlpatterns = [
    path("artifact-uploads", ArtifactUploads.as_view(), name="uploads"),
    path("artifact-uploads/<str:upload_id>", OneArtifactUpload.as_view(), name="upload"),
    path("artifact-uploads/<str:upload_id>/complete", CompleteArtifactUpload.as_view(), name="complete-upload"),
]
