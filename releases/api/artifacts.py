"""REST: the stored bytes of artifacts, the exact bytes of release descriptors, and direct uploads."""

import logging
from base64 import b64encode
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import StrictSerializer, WholeNumber
from foundation.api.problem import refusal
from foundation.api.streaming import is_unchanged, requested_range, streamed
from foundation.errors import PayloadTooLarge, PreconditionFailed, QuotaExceeded, RangeNotSatisfiable, SlowRequestsBusy
from releases import errors, queries
from releases.api.trusted_keys import FindingView
from releases.artifacts import downloads
from releases.models import Artifact, ArtifactUpload, Release
from releases.registration import direct_uploads
from releases.states import UploadStatus
from tenancy import audit
from tenancy.api.operations import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.quotas import StorageQuotaReached
from tenancy.roles import Scope
from wire.documents.descriptor import DESCRIPTOR_NAME

MAX_SIZE = 5 * 1024**3
log = logging.getLogger(__name__)


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


@extend_schema(parameters=[TENANT], tags=["releases"])
class ArtifactUploads(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.DirectUploadsUnavailable,
            errors.DirectUploadsFull,
            PayloadTooLarge,
            errors.ArtifactStoreUnavailable,
            QuotaExceeded,
            StorageQuotaReached,
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
    refusals: ClassVar = {
        "GET": (errors.UploadUnknown, errors.DirectUploadsUnavailable, errors.ArtifactStoreUnavailable)
    }

    @declares(None, Scope.REGISTER)
    @extend_schema(operation_id="upload", responses=ArtifactUploadView)
    def get(self, request: Request, tenant: str, upload_id: str) -> Response:
        """An upload, with the address of each of the first missing parts."""
        return Response(represent(direct_uploads.find(self.tenant, upload_id)))


@extend_schema(parameters=[TENANT], tags=["releases"])
class CompleteArtifactUpload(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.UploadUnknown,
            errors.UploadNotOpen,
            errors.UploadIncomplete,
            errors.DirectUploadsUnavailable,
            errors.ArtifactStoreUnavailable,
        )
    }

    @declares(Act.ARTIFACT_UPLOAD_COMPLETE, Scope.REGISTER)
    @extend_schema(operation_id="completeUpload", request=None, responses={202: ArtifactUploadView})
    def post(self, request: Request, tenant: str, upload_id: str) -> Response:
        """Verify the bytes. The status becomes STORED, or REJECTED with a finding. Poll the upload for it."""
        upload = direct_uploads.complete(direct_uploads.find(self.tenant, upload_id), actor=self.actor)
        return Response(represent(upload), status=status.HTTP_202_ACCEPTED)


MEDIA_TYPE = "application/octet-stream"
RANGE = OpenApiParameter(
    "Range", str, OpenApiParameter.HEADER, description="A single range of bytes, such as `bytes=1000-`."
)


class BytesRenderer(JSONRenderer):
    """Lets clients ask for `application/octet-stream`. It renders nothing, because the bytes are streamed."""

    media_type = MEDIA_TYPE


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneArtifact(TenantView):
    refusals: ClassVar = {
        "GET": (
            errors.ArtifactUnknown,
            errors.ArtifactNotStored,
            errors.ArtifactMissing,
            errors.ArtifactAltered,
            errors.ArtifactStoreUnavailable,
            errors.ArtifactUnverified,
            PreconditionFailed,
            RangeNotSatisfiable,
            SlowRequestsBusy,
        )
    }
    renderer_classes = (BytesRenderer, JSONRenderer)

    @declares(Act.ARTIFACT_DOWNLOAD, Scope.ARTIFACTS)
    @extend_schema(
        operation_id="artifact",
        parameters=[RANGE],
        responses={(200, MEDIA_TYPE): OpenApiTypes.BINARY, (206, MEDIA_TYPE): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, tenant: str, artifact_digest: str) -> HttpResponseBase:
        """The stored bytes of an artifact that a release of the tenant pins by this digest.

        The header `Repr-Digest` has the SHA-256 of the whole artifact, which is also its entity tag. If the response
        breaks off, continue with `Range` and `If-Range`.
        """
        return respond(request._request, downloads.find(self.tenant, artifact_digest), actor=self.actor)


def respond(request: HttpRequest, artifact: Artifact, *, actor: str) -> HttpResponseBase:
    """Return the response to a GET or HEAD for the bytes of `artifact`, which must have a blob.

    Honours conditions and a single range. Raises `ArtifactMissing`, `ArtifactAltered`, `ArtifactStoreUnavailable` and
    `SlowRequestsBusy`.
    """
    blob = artifact.blob
    assert blob is not None  # noqa: S101 - the caller checks it
    etag = f'"{blob.digest}"'
    try:
        if is_unchanged(request.headers, etag):
            return HttpResponse(status=304, headers=_unchanging(etag))
        part = requested_range(request.headers, blob.size, etag) if request.method == "GET" else None
    except PreconditionFailed as error:
        return refusal(error)
    except RangeNotSatisfiable as error:
        response = refusal(error)
        response.headers["Content-Range"] = f"bytes */{blob.size}"
        return response
    disposition = content_disposition_header(True, downloads.file_name(artifact))
    headers = _unchanging(etag) | _saved(artifact.digest, disposition)
    headers |= {"Content-Type": MEDIA_TYPE, "Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        downloads.require_readable(blob)
        return HttpResponse(headers={**headers, "Content-Length": str(blob.size)})
    wanted = range(blob.size) if part is None else part
    chunks = downloads.read(blob, wanted)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{blob.size}"
    streaming = streamed(request, chunks, length=len(wanted), status=200 if part is None else 206, headers=headers)
    tenant = artifact.release.pipeline.tenant
    log.info("%s of tenant %s downloads %s of %s bytes of %s", actor, tenant, len(wanted), blob.size, blob.digest)
    audit.observe(
        Act.ARTIFACT_DOWNLOAD,
        tenant=tenant,
        actor=actor,
        object=blob.digest,
        bytes=len(wanted),
        size=blob.size,
    )
    return streaming


def _unchanging(etag: str) -> dict[str, str]:
    # A cache must ask each time, because the right to download may end.
    return {"ETag": etag, "Cache-Control": "private, no-cache"}


def _saved(digest: str, disposition: str | None) -> dict[str, Any]:
    """Browsers save the bytes and never display them, because their content is not trusted."""
    binary = bytes.fromhex(digest.removeprefix("sha256:"))
    return {
        "Content-Disposition": disposition,
        "Repr-Digest": f"sha-256=:{b64encode(binary).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneDescriptor(TenantView):
    refusals: ClassVar = {"GET": (errors.PipelineUnknown, errors.DescriptorUnknown, PreconditionFailed)}

    @extend_schema(operation_id="descriptor", responses={(200, "application/json"): OpenApiTypes.OBJECT})
    def get(self, request: Request, tenant: str, pipeline_id: str, descriptor_digest: str) -> HttpResponse:
        """The bytes of the release descriptor with this SHA-256, as they were uploaded.

        The digest is `descriptorDigest` of a release. The header `Repr-Digest` repeats it, and it is the entity tag.
        """
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return respond_descriptor(request._request, queries.described(pipeline, descriptor_digest))


def respond_descriptor(request: HttpRequest, release: Release) -> HttpResponse:
    """Return the response to a GET or HEAD for the descriptor of `release`. Honours conditions."""
    etag = f'"{release.descriptor_digest}"'
    try:
        if is_unchanged(request.headers, etag):
            return HttpResponse(status=304, headers=_unchanging(etag))
    except PreconditionFailed as error:
        return refusal(error)
    headers = _unchanging(etag) | _saved(release.descriptor_digest, f'attachment; filename="{DESCRIPTOR_NAME}"')
    return HttpResponse(bytes(release.descriptor_document), content_type="application/json", headers=headers)


urlpatterns = [
    path("artifacts/<str:artifact_digest>", OneArtifact.as_view(), name="artifact"),
    path(
        "pipelines/<str:pipeline_id>/descriptors/<str:descriptor_digest>",
        OneDescriptor.as_view(),
        name="descriptor",
    ),
    path("artifact-uploads", ArtifactUploads.as_view(), name="uploads"),
    path("artifact-uploads/<str:upload_id>", OneArtifactUpload.as_view(), name="upload"),
    path("artifact-uploads/<str:upload_id>/complete", CompleteArtifactUpload.as_view(), name="complete-upload"),
]
