"""REST: the attachments of releases."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.errors import InvalidRequest
from releases import queries
from releases.api.multipart import ATTACHMENT_FIELD, ReleaseUpload, receive
from releases.api.releases import ReleaseView
from releases.errors import (
    AttachmentInvalid,
    AttachmentsFull,
    AttachmentUnknown,
    PipelineUnknown,
    ReleaseNotRegistered,
    ReleaseUnknown,
)
from releases.models import IDENTITY_LENGTH, Attachment
from releases.registration import attachments
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.identifying import is_segment


class AttachmentRequest(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField(max_length=IDENTITY_LENGTH, trim_whitespace=False)
    attachment = serializers.ListField(
        child=serializers.FileField(), help_text="Signatures (DSSE), provenance (in-toto), SBOMs (CycloneDX, SPDX)."
    )


@extend_schema(parameters=[TENANT], tags=["releases"])
class Attachments(TenantView):
    refusals: ClassVar = {
        "POST": (
            *(PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered),
            *(AttachmentInvalid, AttachmentsFull),
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
        errors = [{"field": missing, "code": "REQUIRED", "message": "is required"}]
        raise InvalidRequest("The request needs 'releaseVersion' and a file 'attachment'.", errors=errors)
    return version


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneAttachment(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown, AttachmentUnknown)}

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
    path("pipelines/<str:pipeline_id>/attachments", Attachments.as_view(), name="attachments"),
    path("pipelines/<str:pipeline_id>/attachments/<str:digest>", OneAttachment.as_view(), name="attachment"),
]
