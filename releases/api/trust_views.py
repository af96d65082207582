"""REST: how trust, attachments and keys look on the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from releases.models import KeyRevocation, SignaturePolicy, TrustedKey
from releases.trust.evidence import Kind
from releases.trust.trust import Standing, Trust, Verdict, is_revoked


class SignerView(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in Verdict])
    keyId = serializers.CharField(
        source="key_id", allow_blank=True, help_text="The key's own where one verified the signature, else a claim."
    )
    keyName = serializers.CharField(source="key.name", default=None, allow_null=True)


class TrustView(serializers.Serializer[Trust]):
    policy = serializers.ChoiceField(choices=SignaturePolicy.choices)
    standing = serializers.ChoiceField(choices=[standing.value for standing in Standing])
    met = serializers.BooleanField(source="is_met", help_text="Whether the policy lets the release be activated.")
    signers = SignerView(many=True)


class AttachmentFindingView(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.ChoiceField(choices=["error", "warning"])


class AttachmentView(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(source="attachment.kind", choices=[kind.value for kind in Kind])
    digest = serializers.CharField(source="attachment.digest")
    summary = serializers.DictField(
        source="attachment.summary", help_text="What the document says; nobody vouches for it."
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
