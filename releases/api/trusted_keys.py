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
from releases.models import KeyRevocation, SignaturePolicy, TrustedKey
from releases.states import AttachmentKind
from releases.trust import trust
from releases.trust.trust import Standing, Trust, Verdict, is_revoked
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.documents.signing import MAX_KEY_CHARACTERS


class FindingView(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.ChoiceField(choices=["error", "warning"])


class SignerView(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in Verdict])
    keyId = serializers.CharField(
        source="key_id",
        allow_blank=True,
        help_text="The id of the key that verified the signature. If none did, the id that the signature claims.",
    )
    keyName = serializers.CharField(source="key.name", default=None, allow_null=True)


class TrustView(serializers.Serializer[Trust]):
    policy = serializers.ChoiceField(choices=SignaturePolicy.choices)
    standing = serializers.ChoiceField(choices=[standing.value for standing in Standing])
    met = serializers.BooleanField(source="is_met", help_text="Whether the policy allows the release to be activated.")
    signers = SignerView(many=True)


class AttachmentFindingView(FindingView):
    pass


class AttachmentView(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(source="attachment.kind", choices=[kind.value for kind in AttachmentKind])
    digest = serializers.CharField(source="attachment.digest")
    summary = serializers.DictField(
        source="attachment.summary", help_text="What the document claims. The coordinator does not verify it."
    )
    findings = AttachmentFindingView(source="attachment.findings", many=True)
    signers = SignerView(many=True)
    attachedBy = serializers.CharField(source="attachment.attached_by")
    attachedAt = serializers.DateTimeField(source="attachment.attached_at")


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
    name = Identifier(max_length=trust.KEY_NAME_LENGTH)
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
        return trust.keys_of(self.tenant)

    @declares(Act.TRUSTED_KEY_ADD, Scope.ADMINISTER)
    @extend_schema(operation_id="trustKey", request=NewKeyRequest, responses={201: TrustedKeyView})
    def post(self, request: Request, tenant: str) -> Response:
        """Trust a key. To rotate keys, add the new key and revoke the old one when no release needs it."""
        body = NewKeyRequest.validated(request.data)
        key = trust.add_key(self.tenant, name=body["name"], public_key=body["publicKey"], actor=self.actor)
        return Response(TrustedKeyView(key).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["trusted keys"])
class RevokeKey(TenantView):
    refusals: ClassVar = {"POST": (KeyUnknown, ReasonRequired)}

    @declares(Act.TRUSTED_KEY_REVOKE, Scope.ADMINISTER)
    @extend_schema(operation_id="revokeKey", request=KeyRevocationRequest, responses=TrustedKeyView)
    def post(self, request: Request, tenant: str, key_id: str) -> Response:
        """Revoke a trusted key permanently. Active releases stay active. Releases that only it signed are flagged."""
        body = KeyRevocationRequest.validated(request.data)
        key = trust.find_key(self.tenant, key_id)
        trust.revoke_key(key, actor=self.actor, reason=body["reason"])
        return Response(TrustedKeyView(trust.find_key(self.tenant, key_id)).data)


urlpatterns = [
    path("trusted-keys", TrustedKeys.as_view(), name="trusted-keys"),
    path("trusted-keys/<str:key_id>/revoke", RevokeKey.as_view(), name="revoke-key"),
]
