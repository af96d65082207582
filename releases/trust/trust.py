"""Whether a release is signed by a key that its tenant trusts, told anew each time, as keys come and are revoked.

The policy is a rule of activation. Submissions never look at it: a release that is active and shall not go on is
revoked, or another one activated.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import QuerySet

from releases.errors import SignatureRequired
from releases.models import Attachment, Pipeline, Release, SignaturePolicy, TrustedKey
from releases.states import AttachmentKind
from releases.trust import trusted_keys
from releases.trust.evidence import envelope_of
from wire.documents import signing


class Verdict(StrEnum):
    """What one signature is worth."""

    VALID = "VALID"
    KEY_REVOKED = "KEY_REVOKED"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    BAD_SIGNATURE = "BAD_SIGNATURE"


class Standing(StrEnum):
    """What all signatures over a release's descriptor are worth together."""

    SIGNED = "SIGNED"
    """By one trusted key at least."""
    REVOKED_KEYS = "REVOKED_KEYS"
    """By nothing but keys that were revoked."""
    UNTRUSTED = "UNTRUSTED"
    """Signed, but by no key that is or was trusted."""
    UNSIGNED = "UNSIGNED"


TOLD = {
    Standing.SIGNED: "A trusted key signed it.",
    Standing.REVOKED_KEYS: "It is signed by nothing but revoked keys.",
    Standing.UNTRUSTED: "No signature is of a trusted key.",
    Standing.UNSIGNED: "Nobody signed it.",
}


@dataclass(frozen=True)
class Signer:
    """One signature. `key_id` is the key's own where one verified it, else what the signature claims."""

    verdict: Verdict
    key_id: str
    key: TrustedKey | None


@dataclass(frozen=True)
class Trust:
    """The signatures over a release's descriptor, and what follows from them."""

    policy: str
    standing: Standing
    signers: tuple[Signer, ...]

    @property
    def told(self) -> str:
        return TOLD[self.standing]

    @property
    def is_met(self) -> bool:
        """Whether the pipeline's policy lets the release be activated."""
        return self.policy != SignaturePolicy.REQUIRE or self.standing is Standing.SIGNED

    @property
    def warns(self) -> bool:
        """Whether whoever activates it is to be warned: the policy asks for that, or a key was revoked."""
        return self.standing is Standing.REVOKED_KEYS or (
            self.policy != SignaturePolicy.OFF and self.standing is not Standing.SIGNED
        )


@dataclass(frozen=True)
class Attached:
    """An attachment with who signed it, if it is signed."""

    attachment: Attachment
    signers: tuple[Signer, ...]


def attached(release: Release) -> list[Attached]:
    """What is attached to `release`, in the order in which it came; the contents are loaded where they are signed."""
    keys = list(trusted_keys.of(release.pipeline.tenant))
    return [Attached(row, signers_of(row, keys)) for row in release.attachments.defer("content")]


def of(release: Release) -> Trust:
    """What the signatures of `release` are worth now, under the policy of its pipeline."""
    return _trust(release, release.pipeline, list(trusted_keys.of(release.pipeline.tenant)))


def standings(releases: Iterable[Release]) -> dict[int, Standing]:
    """The standing of each of `releases`, by its primary key, with two queries for all of them."""
    tenants = {release.pk: release.pipeline.tenant_id for release in releases}
    keys = defaultdict(list)
    for key in TrustedKey.objects.filter(tenant__in=set(tenants.values())).select_related("revocation"):
        keys[key.tenant_id].append(key)
    verdicts: dict[int, list[Verdict]] = defaultdict(list)
    for envelope in _envelopes(Attachment.objects.filter(release__in=tenants)):
        signers = signers_of(envelope, keys[tenants[envelope.release_id]])
        verdicts[envelope.release_id] += [signer.verdict for signer in signers]
    return {release: _standing(verdicts[release]) for release in tenants}


def require_met(release: Release, pipeline: Pipeline) -> Trust:
    """Raise `SignatureRequired` where the policy of `pipeline`, whose row the caller has locked, is not met.

    The keys are locked until the caller's transaction ends: a revocation comes before, or after the activation.
    """
    list(TrustedKey.objects.select_for_update().filter(tenant=pipeline.tenant_id).order_by("pk"))
    trust = _trust(release, pipeline, list(trusted_keys.of(pipeline.tenant)))
    if not trust.is_met:
        raise SignatureRequired(
            f"Release {release.release_version!r} cannot be activated: {trust.told}", standing=trust.standing
        )
    return trust


def signers_of(attachment: Attachment, keys: Sequence[TrustedKey]) -> tuple[Signer, ...]:
    """Who signed what is attached; nobody where it is no envelope."""
    if not attachment.summary.get("keyIds"):
        return ()
    envelope = envelope_of(bytes(attachment.content))
    return tuple(_signer(envelope, signature, keys) for signature in envelope.signatures)


def _trust(release: Release, pipeline: Pipeline, keys: Sequence[TrustedKey]) -> Trust:
    signers = tuple(
        signer for envelope in _envelopes(release.attachments.all()) for signer in signers_of(envelope, keys)
    )
    return Trust(pipeline.signature_policy, _standing(signer.verdict for signer in signers), signers)


def _envelopes(rows: QuerySet[Attachment]) -> QuerySet[Attachment]:
    """What contradicts its release can be attached to a rejected one alone, and is no signature over it."""
    return rows.filter(kind=AttachmentKind.SIGNATURE, findings=[])


def _signer(envelope: signing.Envelope, signature: signing.Signature, keys: Sequence[TrustedKey]) -> Signer:
    hinted = None
    # The key that the hint names first, then all others: a wrong hint takes nothing from a good signature.
    for key in sorted(keys, key=lambda key: key.key_id != signature.key_id):
        if envelope.is_signed_by(signing.read_public_key(key.public_key), signature):
            return Signer(Verdict.KEY_REVOKED if is_revoked(key) else Verdict.VALID, key.key_id, key)
        if key.key_id == signature.key_id:
            hinted = key
    if hinted is not None:
        return Signer(Verdict.BAD_SIGNATURE, signature.key_id, hinted)
    return Signer(Verdict.KEY_UNKNOWN, signature.key_id[:200], None)


def is_revoked(key: TrustedKey) -> bool:
    return hasattr(key, "revocation")


def _standing(verdicts: Iterable[Verdict]) -> Standing:
    found = set(verdicts)
    if Verdict.VALID in found:
        return Standing.SIGNED
    if not found:
        return Standing.UNSIGNED
    return Standing.REVOKED_KEYS if found == {Verdict.KEY_REVOKED} else Standing.UNTRUSTED
