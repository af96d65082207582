"""REST: the tenant's trusted keys."""

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Identifier, StrictSerializer, Text
from releases.errors import KeyConflict, KeyInvalid, KeyUnknown, ReasonRequired
from releases.models import KeyRevocation, TrustedKey
from releases.trust import trusted_keys
from releases.trust.trust import is_revoked
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.documents.signing import MAX_KEY_CHARACTERS


class KeyRevocationView(serializers.Serializer[KeyRevocation]):
    actor = serializers.CharField()
    reason = serializers.CharField()
    revokedAt = serializers.DateTimeField(source="revoked_at")


class TrustedKeyView(serializers.Serializer[TrustedKey]):
    keyId = serializers.CharField(source="key_id")
    name = serializers.CharField()
    publicKey = serializers.CharField(source="public_key")
    addedBy = serializers.CharField(source="added_by")
    addedAt = serializers.DateTimeField(source="added_at")
    revocation = serializers.SerializerMethodField()

    @extend_schema_field(KeyRevocationView(allow_null=True))
    def get_revocation(self, key: TrustedKey) -> Any:
        return KeyRevocationView(key.revocation).data if is_revoked(key) else None


class NewKeyRequest(StrictSerializer):
    name = Identifier(max_length=trusted_keys.NAME_LENGTH)
    publicKey = Text(max_length=MAX_KEY_CHARACTERS, help_text="An ed25519 public key in PEM form.")


class KeyRevocationRequest(StrictSerializer):
    reason = Text(max_length=1000)


@extend_schema(parameters=[TENANT], tags=["trusted keys"])
class TrustedKeys(TenantView, ListAPIView[TrustedKey]):
    """The tenant's trusted keys, including revoked ones, newest first."""

    refusals: ClassVar = {"POST": (KeyInvalid, KeyConflict)}
    serializer_class = TrustedKeyView
    queryset = TrustedKey.objects.none()

    def get_queryset(self) -> Any:
        return trusted_keys.of(self.tenant)

    @declares(Act.TRUSTED_KEY_ADD, Scope.ADMINISTER)
    @extend_schema(operation_id="trustKey", request=NewKeyRequest, responses={201: TrustedKeyView})
    def post(self, request: Request, tenant: str) -> Response:
        """Trust a key. To rotate keys, add the new key and revoke the old one when no release needs it."""
        body = NewKeyRequest(data=request.data)
        body.is_valid(raise_exception=True)
        key = trusted_keys.add(
            self.tenant,
            name=body.validated_data["name"],
            public_key=body.validated_data["publicKey"],
            actor=self.actor,
        )
        return Response(TrustedKeyView(key).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["trusted keys"])
class RevokeKey(TenantView):
    refusals: ClassVar = {"POST": (KeyUnknown, ReasonRequired)}

    @declares(Act.TRUSTED_KEY_REVOKE, Scope.ADMINISTER)
    @extend_schema(operation_id="revokeKey", request=KeyRevocationRequest, responses=TrustedKeyView)
    def post(self, request: Request, tenant: str, key_id: str) -> Response:
        """Revoke a trusted key permanently. Active releases stay active. Releases that only it signed are flagged."""
        body = KeyRevocationRequest(data=request.data)
        body.is_valid(raise_exception=True)
        key = trusted_keys.find(self.tenant, key_id)
        trusted_keys.revoke(key, actor=self.actor, reason=body.validated_data["reason"])
        return Response(TrustedKeyView(trusted_keys.find(self.tenant, key_id)).data)


urlpatterns = [
    path("trusted-keys", TrustedKeys.as_view(), name="trusted-keys"),
    path("trusted-keys/<str:key_id>/revoke", RevokeKey.as_view(), name="revoke-key"),
]
