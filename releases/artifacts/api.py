"""REST: the stored bytes of artifacts, and the exact bytes of release descriptors."""

import logging
from base64 import b64encode
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from foundation.api.problem import refusal
from foundation.api.streaming import is_unchanged, requested_range, streamed
from foundation.errors import PreconditionFailed, RangeNotSatisfiable, SlowRequestsBusy
from releases import errors, queries
from releases.artifacts import soundness
from releases.models import Artifact, Release
from tenancy import audit
from tenancy.api.operations import TENANT, TenantView, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.documents.descriptor import DESCRIPTOR_NAME

log = logging.getLogger(__name__)


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
        return respond(request._request, soundness.find(self.tenant, artifact_digest), actor=self.actor)


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
    disposition = content_disposition_header(True, soundness.file_name(artifact))
    headers = _unchanging(etag) | _saved(artifact.digest, disposition)
    headers |= {"Content-Type": MEDIA_TYPE, "Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        soundness.require_readable(blob)
        return HttpResponse(headers={**headers, "Content-Length": str(blob.size)})
    wanted = range(blob.size) if part is None else part
    chunks = soundness.read(blob, wanted)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{blob.size}"
    streaming = streamed(request, chunks, length=len(wanted), status=200 if part is None else 206, headers=headers)
    tenant = artifact.release.pipeline.tenant
    log.info("%s of tenant %s downloads %s of %s bytes of %s", actor, tenant, len(wanted), blob.size, blob.digest)
    audit.observe(
        Act.ARTIFACT_DOWNLOAD,
        tenant=tenant,
        actor=actor,
        object_type="artifact",
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


@operation("releases", "descriptor", {(200, "application/json"): OpenApiTypes.OBJECT}, method="GET")
@refuses(errors.PipelineUnknown, errors.DescriptorUnknown, PreconditionFailed)
def descriptor(view: TenantView, pipeline_id: str, descriptor_digest: str) -> Any:
    """The bytes of the release descriptor with this SHA-256, as they were uploaded.

    The digest is `descriptorDigest` of a release. The header `Repr-Digest` repeats it, and it is the entity tag.
    """
    release = queries.described(queries.pipeline(view.tenant, pipeline_id), descriptor_digest)
    return respond_descriptor(view.request._request, release)


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
    path("pipelines/<str:pipeline_id>/descriptors/<str:descriptor_digest>", descriptor, name="descriptor"),
]
