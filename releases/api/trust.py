"""REST: the representations of signatures, of a release's trust and of its attachments."""

from typing import Any

from rest_framework import serializers

from releases.api.findings import FindingView
from releases.models import SignaturePolicy
from releases.states import AttachmentKind
from releases.trust.trust import Standing, Trust, Verdict


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
