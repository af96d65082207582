"""REST: direct uploads, by which large artifacts go straight to the artifact store."""

from typing import Any, ClassVar

from django.urls import path, reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import StrictSerializer, WholeNumber
from foundation.errors import PayloadTooLarge
from releases.api.releases import TENANT, FindingView
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
from tenancy.api.tenant_view import TenantView
from tenancy.roles import Scope

LARGEST = 5 * 1024**3


class ArtifactUploadRequest(StrictSerializer):
    digest = serializers.RegexField(r"\Asha256:[0-9a-f]{64}\Z", max_length=71, trim_whitespace=False)
    size = WholeNumber(min_value=1, max_value=LARGEST, help_text="In bytes.")


class PartView(serializers.Serializer[direct_uploads.Part]):
    partNumber = serializers.IntegerField(source="number")
    offset = serializers.IntegerField()
    size = serializers.IntegerField()
    url = serializers.CharField(help_text="PUT exactly these bytes here, within 15 minutes.")


class ArtifactUploadView(serializers.Serializer[ArtifactUpload]):
    uploadId = serializers.UUIDField(source="id")
    digest = serializers.CharField()
    size = serializers.IntegerField()
    status = serializers.ChoiceField(choices=[each.value for each in UploadStatus])
    finding = FindingView(allow_null=True, help_text="Why it was rejected.")
    received = serializers.IntegerField(help_text="How many bytes are there.")
    missing = PartView(many=True, help_text="The first parts that are not there; complete it once there are none.")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")


def shown(upload: ArtifactUpload) -> dict[str, Any]:
    """An upload as it is told, with what is missing of it. Raises `ArtifactStoreUnavailable`."""
    received, missing = direct_uploads.missing(upload)
    upload.received, upload.missing = received, missing  # type: ignore[attr-defined]
    return dict(ArtifactUploadView(upload).data)


BEGINNING = (DirectUploadsUnavailable, DirectUploadsFull, PayloadTooLarge, ArtifactStoreUnavailable)


@extend_schema(parameters=[TENANT], tags=["releases"])
class ArtifactUploads(TenantView):
    scopes: ClassVar = {"POST": Scope.REGISTER}
    refusals: ClassVar = {"POST": BEGINNING}

    @extend_schema(operation_id="beginUpload", request=ArtifactUploadRequest, responses={201: ArtifactUploadView})
    def post(self, request: Request, tenant: str) -> Response:
        """Begin to send an artifact straight to the artifact store, or go on with it: the same bytes are one upload.

        What is STORED may be named by the tenant's releases without being sent again.
        """
        asked = ArtifactUploadRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        upload = direct_uploads.begin(self.tenant, **asked.validated_data, actor=self.actor)
        url = reverse("api:upload", args=(tenant, upload.pk))
        headers = {"Location": request.build_absolute_uri(url)}
        return Response(shown(upload), status=status.HTTP_201_CREATED, headers=headers)


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneArtifactUpload(TenantView):
    scopes: ClassVar = {"GET": Scope.REGISTER}
    refusals: ClassVar = {"GET": (UploadUnknown, DirectUploadsUnavailable, ArtifactStoreUnavailable)}

    @extend_schema(operation_id="upload", responses=ArtifactUploadView)
    def get(self, request: Request, tenant: str, upload_id: str) -> Response:
        """An upload, with an address for each of the first parts that are missing."""
        return Response(shown(direct_uploads.find(self.tenant, upload_id)))


@extend_schema(parameters=[TENANT], tags=["releases"])
class CompleteArtifactUpload(TenantView):
    scopes: ClassVar = {"POST": Scope.REGISTER}
    refusals: ClassVar = {
        "POST": (UploadUnknown, UploadNotOpen, UploadIncomplete, DirectUploadsUnavailable, ArtifactStoreUnavailable)
    }

    @extend_schema(operation_id="completeUpload", request=None, responses={202: ArtifactUploadView})
    def post(self, request: Request, tenant: str, upload_id: str) -> Response:
        """Have what was sent verified: its status becomes STORED, or REJECTED with a finding. Poll the upload."""
        upload = direct_uploads.complete(direct_uploads.find(self.tenant, upload_id))
        return Response(shown(upload), status=status.HTTP_202_ACCEPTED)


urlpatterns = [
    path("artifact-uploads", ArtifactUploads.as_view(), name="uploads"),
    path("artifact-uploads/<str:upload_id>", OneArtifactUpload.as_view(), name="upload"),
    path("artifact-uploads/<str:upload_id>/complete", CompleteArtifactUpload.as_view(), name="complete-upload"),
]
