"""REST: the tenant's trusted keys, what they say about releases, and attachments."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from foundation.api.fields import Identifier, StrictSerializer, Text
from releases import queries
from releases.errors import AttachmentUnknown, KeyConflict, KeyInvalid, KeyUnknown, PipelineUnknown, ReasonRequired
from releases.models import Attachment, KeyRevocation, SignaturePolicy, TrustedKey
from releases.states import AttachmentKind
from releases.trust import attachments, trust
from releases.trust.trust import Standing, Trust, Verdict, is_revoked
from tenancy.api.operations import TenantView, either, listing, operation, refuses
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
    publicKey = Text(source="public_key", max_length=MAX_KEY_CHARACTERS, help_text="An ed25519 public key in PEM form.")


class KeyRevocationRequest(StrictSerializer):
    reason = Text(max_length=1000)


@listing("trusted keys", TrustedKey, TrustedKeyView)
def all_trusted_keys(view: TenantView) -> Any:
    """The tenant's trusted keys, including revoked ones, newest first."""
    return trust.keys_of(view.tenant)


@operation("trusted keys", "trustKey", {201: TrustedKeyView}, body=NewKeyRequest)
@declares(Act.TRUSTED_KEY_ADD, Scope.ADMINISTER)
@refuses(KeyInvalid, KeyConflict)
def trust_key(view: TenantView, name: str, public_key: str) -> Any:
    """Trust a key. To rotate keys, add the new key and revoke the old one when no release needs it."""
    return trust.add_key(view.tenant, name=name, public_key=public_key, actor=view.actor)


@operation("trusted keys", "revokeKey", TrustedKeyView, body=KeyRevocationRequest)
@declares(Act.TRUSTED_KEY_REVOKE, Scope.ADMINISTER)
@refuses(KeyUnknown, ReasonRequired)
def revoke_key(view: TenantView, key_id: str, reason: str) -> Any:
    """Revoke a trusted key permanently. Active releases stay active. Releases that only it signed are flagged."""
    trust.revoke_key(trust.find_key(view.tenant, key_id), actor=view.actor, reason=reason)
    return trust.find_key(view.tenant, key_id)


@operation("releases", "attachment", {(200, "application/json"): OpenApiTypes.OBJECT}, method="GET")
@refuses(PipelineUnknown, AttachmentUnknown)
def attachment(view: TenantView, pipeline_id: str, digest: str) -> Any:
    """The bytes of an attachment, unchanged."""
    return download(attachments.find(queries.pipeline(view.tenant, pipeline_id), digest))


def download(attachment: Attachment) -> HttpResponse:
    """Return a response with the bytes of an attachment, which browsers save and never display.

    The document comes from a client, so its content is not trusted.
    """
    name = f"{attachment.kind}-{attachment.digest.removeprefix('sha256:')[:12]}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(bytes(attachment.content), content_type="application/json", headers=headers)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/attachments/<str:digest>", attachment, name="attachment"),
    path("trusted-keys", either(all_trusted_keys, trust_key), name="trusted-keys"),
    path("trusted-keys/<str:key_id>/revoke", revoke_key, name="revoke-key"),
]
