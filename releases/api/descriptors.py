"""REST: the exact bytes of release descriptors."""

from base64 import b64encode
from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from foundation.api.problem import refusal
from foundation.errors import PreconditionFailed
from foundation.http.ranges import is_unchanged
from releases import queries
from releases.errors import DescriptorUnknown, PipelineUnknown
from releases.models import Release
from tenancy.api.tenant_view import TENANT, TenantView
from wire.documents.descriptor import DESCRIPTOR_NAME


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneDescriptor(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown, DescriptorUnknown, PreconditionFailed)}

    @extend_schema(operation_id="descriptor", responses={(200, "application/json"): OpenApiTypes.OBJECT})
    def get(self, request: Request, tenant: str, pipeline_id: str, descriptor_digest: str) -> HttpResponse:
        """The bytes of the release descriptor with this SHA-256, as they were uploaded.

        The digest is `descriptorDigest` of a release. The header `Repr-Digest` repeats it, and it is the entity tag.
        """
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return respond(request._request, queries.described(pipeline, descriptor_digest))


def respond(request: HttpRequest, release: Release) -> HttpResponse:
    """Return the response to a GET or HEAD for the descriptor of `release`. Honours conditions.

    Browsers save it and never display it, because its content is not trusted.
    """
    etag = f'"{release.descriptor_digest}"'
    # A cache must ask each time, because the right to download may end.
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    try:
        if is_unchanged(request.headers, etag):
            return HttpResponse(status=304, headers=headers)
    except PreconditionFailed as error:
        return refusal(error)
    binary = bytes.fromhex(release.descriptor_digest.removeprefix("sha256:"))
    headers |= {
        "Content-Disposition": f'attachment; filename="{DESCRIPTOR_NAME}"',
        "Repr-Digest": f"sha-256=:{b64encode(binary).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(bytes(release.descriptor_document), content_type="application/json", headers=headers)


urlpatterns = [
    path(
        "pipelines/<str:pipeline_id>/descriptors/<str:descriptor_digest>",
        OneDescriptor.as_view(),
        name="descriptor",
    )
]
