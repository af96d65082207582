"""REST: the tenant's trusted keys, and what is attached to releases that are there already."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Identifier, StrictSerializer, Text
from foundation.errors import InvalidRequest
from releases import queries
from releases.api.releases import TENANT, ReleaseView
from releases.api.trust_views import TrustedKeyView
from releases.errors import (
    AttachmentInvalid,
    AttachmentsFull,
    AttachmentUnknown,
    KeyConflict,
    KeyInvalid,
    KeyUnknown,
    PipelineUnknown,
    ReasonRequired,
    ReleaseNotRegistered,
    ReleaseUnknown,
)
from releases.models import IDENTITY_LENGTH, TrustedKey
from releases.registration import attachments
from releases.registration.downloads import download
from releases.registration.uploads import ATTACHMENT_FIELD, receiving
from releases.trust import trusted_keys
from tenancy.api.tenant_view import TenantView
from tenancy.roles import Scope
from wire.documents.signing import MAX_KEY_CHARACTERS
from wire.identifying import is_segment


class NewKeyRequest(StrictSerializer):
    name = Identifier(max_length=trusted_keys.NAME_LENGTH)
    publicKey = Text(max_length=MAX_KEY_CHARACTERS, help_text="An ed25519 public key in PEM form.")


class KeyRevocationRequest(StrictSerializer):
    reason = Text(max_length=1000)


class AttachmentRequest(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField(max_length=IDENTITY_LENGTH, trim_whitespace=False)
    attachment = serializers.ListField(
        child=serializers.FileField(), help_text="Signatures (DSSE), provenance (in-toto), SBOMs (CycloneDX, SPDX)."
    )


@extend_schema(parameters=[TENANT], tags=["trusted keys"])
class TrustedKeys(TenantView, ListAPIView[TrustedKey]):
    """The keys whose signatures the tenant trusts, and those that were revoked, newest first."""

    scopes: ClassVar = {"POST": Scope.ADMINISTER}
    refusals: ClassVar = {"POST": (KeyInvalid, KeyConflict)}
    serializer_class = TrustedKeyView
    queryset = TrustedKey.objects.none()

    def get_queryset(self) -> Any:
        return trusted_keys.of(self.tenant)

    @extend_schema(operation_id="trustKey", request=NewKeyRequest, responses={201: TrustedKeyView})
    def post(self, request: Request, tenant: str) -> Response:
        """Trust a key from now on. To rotate, add the next one and revoke the last one when nothing needs it."""
        asked = NewKeyRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        made = trusted_keys.add(
            self.tenant,
            name=asked.validated_data["name"],
            public_key=asked.validated_data["publicKey"],
            actor=self.actor,
        )
        return Response(TrustedKeyView(made).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["trusted keys"])
class RevokeKey(TenantView):
    scopes: ClassVar = {"POST": Scope.ADMINISTER}
    refusals: ClassVar = {"POST": (KeyUnknown, ReasonRequired)}

    @extend_schema(operation_id="revokeKey", request=KeyRevocationRequest, responses=TrustedKeyView)
    def post(self, request: Request, tenant: str, key_id: str) -> Response:
        """Trust the key no more, for good. What is active stays active; what only it signed is flagged."""
        asked = KeyRevocationRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        key = trusted_keys.find(self.tenant, key_id)
        trusted_keys.revoke(key, actor=self.actor, reason=asked.validated_data["reason"])
        return Response(TrustedKeyView(trusted_keys.find(self.tenant, key_id)).data)


@extend_schema(parameters=[TENANT], tags=["releases"])
class Attachments(TenantView):
    scopes: ClassVar = {"POST": Scope.REGISTER}
    refusals: ClassVar = {
        "POST": (
            *(PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered),
            *(AttachmentInvalid, AttachmentsFull),
        )
    }
    parser_classes = (MultiPartParser,)

    @extend_schema(operation_id="attach", request={"multipart/form-data": AttachmentRequest}, responses=ReleaseView)
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Attach signatures, provenance or SBOMs to a release. What it has already is no mistake."""
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        with receiving(request._request, tenant) as upload:
            asked: Any = request.data
            if upload.files or upload.descriptor is not None or set(asked) - {"releaseVersion", ATTACHMENT_FIELD}:
                raise InvalidRequest("The request may have nothing but 'releaseVersion' and files named 'attachment'.")
            version = asked.get("releaseVersion")
            if not isinstance(version, str) or not is_segment(version) or not upload.attached:
                missing = "attachment" if upload.attached == [] else "releaseVersion"
                errors = [{"field": missing, "code": "REQUIRED", "message": "is required"}]
                raise InvalidRequest("The request needs 'releaseVersion' and a file 'attachment'.", errors=errors)
            release = queries.release(pipeline, version)
            attachments.attach(release, upload.attached, actor=self.actor)
        return Response(ReleaseView(release).data)


@extend_schema(parameters=[TENANT], tags=["releases"])
class OneAttachment(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown, AttachmentUnknown)}

    @extend_schema(operation_id="attachment", responses={(200, "application/json"): OpenApiTypes.OBJECT})
    def get(self, request: Request, tenant: str, pipeline_id: str, digest: str) -> HttpResponse:
        """The bytes of an attachment, as they came."""
        return download(attachments.find(queries.pipeline(self.tenant, pipeline_id), digest))


urlpatterns = [
    path("trusted-keys", TrustedKeys.as_view(), name="trusted-keys"),
    path("trusted-keys/<str:key_id>/revoke", RevokeKey.as_view(), name="revoke-key"),
    path("pipelines/<str:pipeline_id>/attachments", Attachments.as_view(), name="attachments"),
    path("pipelines/<str:pipeline_id>/attachments/<str:digest>", OneAttachment.as_view(), name="attachment"),
]
