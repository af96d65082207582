"""The trusted keys of a tenant, whether one of them signed a release (ADR 14), and the coordinator's own key.

Trust is not stored, because keys are added and revoked. The signature policy applies to activations and not to
submissions. To stop submissions to an active release, revoke it or activate another one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from releases.errors import KeyConflict, KeyInvalid, KeyUnknown, ProvenanceKeyMissing, ReasonRequired
from releases.models import Attachment, KeyRevocation, Pipeline, Release, SignaturePolicy, TrustedKey
from releases.states import AttachmentKind
from releases.trust.attachments import envelope_of
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents import signing
from wire.documents.execution_statement import PAYLOAD_TYPE
from wire.documents.json_writer import text
from wire.identity import RULE, is_identifier

KEY_NAME_LENGTH = 100


def keys_of(tenant: Tenant) -> QuerySet[TrustedKey]:
    """Return all trusted keys of `tenant`, including revoked ones, each with its revocation."""
    return TrustedKey.objects.filter(tenant=tenant).select_related("revocation")


def find_key(tenant: Tenant, key_id: str) -> TrustedKey:
    """Return the key of `tenant` with this id. Raises `KeyUnknown`."""
    key = keys_of(tenant).filter(key_id=key_id).first()
    if key is None:
        raise KeyUnknown(f"There is no trusted key {key_id!r}.")
    return key


def add_key(tenant: Tenant, *, name: str, public_key: str, actor: str) -> TrustedKey:
    """Trust an ed25519 key. `public_key` is its public key in PEM form.

    Raises `KeyInvalid`, and `KeyConflict` if the tenant has a key with this name or this key, revoked or not.
    """
    if not name.strip() or len(name) > KEY_NAME_LENGTH:
        raise _invalid("name", f"The name of a key has 1 to {KEY_NAME_LENGTH} characters.")
    if not is_identifier(name.strip()):
        raise _invalid("name", f"The name of a key {RULE}.")
    try:
        key = signing.read_public_key(public_key)
    except signing.KeyUnusable as error:
        raise _invalid("publicKey", str(error)) from None
    try:
        with transaction.atomic():
            created = TrustedKey.objects.create(
                tenant=tenant,
                name=name.strip(),
                key_id=signing.key_id(key),
                public_key=signing.to_pem(key),
                added_by=actor,
            )
            _record(Act.TRUSTED_KEY_ADD, created, actor)
            return created
    except IntegrityError:
        raise KeyConflict(
            f"The tenant already has key {signing.key_id(key)} or a key named {name.strip()!r}."
        ) from None


def revoke_key(key: TrustedKey, *, actor: str, reason: str) -> KeyRevocation:
    """Revoke `key` permanently and return the revocation. A repeated call returns the first revocation.

    Releases that it signed are then signed by a revoked key. Active releases stay active. Raises `ReasonRequired`.
    """
    if not reason.strip():
        raise ReasonRequired("The revocation of a key requires a reason.")
    values = {"actor": actor, "reason": reason.strip()}
    with transaction.atomic():
        revocation, created = KeyRevocation.objects.get_or_create(key=key, defaults=values)
        if created:
            _record(Act.TRUSTED_KEY_REVOKE, key, actor, reason=revocation.reason)
    return revocation


def _record(act: Act, key: TrustedKey, actor: str, reason: str = "") -> None:
    tenant, name = key.tenant, key.name
    audit.record(act, tenant=tenant, actor=actor, object=key.key_id, reason=reason, name=name)


def _invalid(field: str, message: str) -> KeyInvalid:
    return KeyInvalid(message, errors=[{"field": field, "code": "KEY", "message": message}])


class Verdict(StrEnum):
    """The verdict on one signature."""

    VALID = "VALID"
    KEY_REVOKED = "KEY_REVOKED"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    BAD_SIGNATURE = "BAD_SIGNATURE"


class Standing(StrEnum):
    """The combined verdict on all signatures over the descriptor of a release."""

    SIGNED = "SIGNED"
    REVOKED_KEYS = "REVOKED_KEYS"
    UNTRUSTED = "UNTRUSTED"
    UNSIGNED = "UNSIGNED"


DESCRIPTIONS = {
    Standing.SIGNED: "Signed by a trusted key.",
    Standing.REVOKED_KEYS: "Signed only by revoked keys.",
    Standing.UNTRUSTED: "Signed, but not by a trusted key.",
    Standing.UNSIGNED: "Unsigned.",
}


@dataclass(frozen=True)
class Signer:
    """One signature. `key_id` is the id of the key that verified it, or else the id that the signature claims."""

    verdict: Verdict
    key_id: str
    key: TrustedKey | None


@dataclass(frozen=True)
class Trust:
    """The signatures over the descriptor of a release, and their combined verdict under the policy."""

    policy: str
    standing: Standing
    signers: tuple[Signer, ...]

    @property
    def description(self) -> str:
        return DESCRIPTIONS[self.standing]

    @property
    def is_met(self) -> bool:
        """True if the policy of the pipeline allows the release to be activated."""
        return self.policy != SignaturePolicy.REQUIRE or self.standing is Standing.SIGNED

    @property
    def warns(self) -> bool:
        """True if an activation should display a warning: the policy demands it, or only revoked keys signed."""
        return self.standing is Standing.REVOKED_KEYS or (
            self.policy != SignaturePolicy.OFF and self.standing is not Standing.SIGNED
        )


@dataclass(frozen=True)
class Attached:
    """An attachment with its signatures."""

    attachment: Attachment
    signers: tuple[Signer, ...]


def attached(release: Release) -> list[Attached]:
    """Return the attachments of `release` in their order. Only the contents of signed attachments are loaded."""
    keys = list(keys_of(release.pipeline.tenant))
    rows = list(release.attachments.defer("content"))
    contents = Attachment.objects.in_bulk([row.pk for row in rows if row.summary.get("keyIds")])
    return [Attached(row, signers_of(contents.get(row.pk, row), keys)) for row in rows]


def signers_in(attachments: Iterable[Attached]) -> list[Signer]:
    """Return the signatures over the descriptor among the attachments of a release."""
    envelopes = (attached for attached in attachments if _is_envelope(attached.attachment))
    return [signer for envelope in envelopes for signer in envelope.signers]


def trust_of(release: Release, pipeline: Pipeline | None = None, *, signers: Sequence[Signer] | None = None) -> Trust:
    """Return the current trust in `release` under the policy of its pipeline. `pipeline` is a newer copy of that.

    `signers` are the signatures over the descriptor, if the caller has just read them.
    """
    judged = signers_by_release([release])[release.pk] if signers is None else signers
    policy = (pipeline or release.pipeline).signature_policy
    return Trust(policy, _standing(signer.verdict for signer in judged), tuple(judged))


def standings(releases: Iterable[Release]) -> dict[int, Standing]:
    """Return the standing of each release by its primary key. Makes two queries in total."""
    return {
        key: _standing(signer.verdict for signer in signers) for key, signers in signers_by_release(releases).items()
    }


def signers_by_release(releases: Iterable[Release]) -> dict[int, list[Signer]]:
    """Return the signatures over the descriptor of each release by its primary key. Makes two queries in total."""
    tenants = {release.pk: release.pipeline.tenant_id for release in releases}
    keys = defaultdict(list)
    for key in TrustedKey.objects.filter(tenant__in=set(tenants.values())).select_related("revocation"):
        keys[key.tenant_id].append(key)
    signers: dict[int, list[Signer]] = {release: [] for release in tenants}
    for envelope in Attachment.objects.filter(release__in=tenants, kind=AttachmentKind.SIGNATURE, findings=[]):
        signers[envelope.release_id] += signers_of(envelope, keys[tenants[envelope.release_id]])
    return signers


def lock_keys(pipeline: Pipeline) -> None:
    """Lock the trusted keys until the end of the transaction, so that none is revoked meanwhile.

    The caller has locked the row of `pipeline`.
    """
    list(TrustedKey.objects.select_for_update().filter(tenant=pipeline.tenant_id).order_by("pk"))


def signers_of(attachment: Attachment, keys: Sequence[TrustedKey]) -> tuple[Signer, ...]:
    """Return the signatures of an attachment. Empty if it is not an envelope."""
    if not attachment.summary.get("keyIds"):
        return ()
    envelope = envelope_of(bytes(attachment.content))
    return tuple(_signer(envelope, signature, keys) for signature in envelope.signatures)


def _is_envelope(attachment: Attachment) -> bool:
    """Return True if it is a signature over the descriptor. One with findings contradicts that."""
    return attachment.kind == AttachmentKind.SIGNATURE and attachment.findings == []


def _signer(envelope: signing.Envelope, signature: signing.Signature, keys: Sequence[TrustedKey]) -> Signer:
    claimed = None
    # Try the key with the claimed id first, and then all others: a signature with a wrong key id can still be valid.
    for key in sorted(keys, key=lambda key: key.key_id != signature.key_id):
        if envelope.is_signed_by(signing.read_public_key(key.public_key), signature):
            return Signer(Verdict.KEY_REVOKED if is_revoked(key) else Verdict.VALID, key.key_id, key)
        if key.key_id == signature.key_id:
            claimed = key
    if claimed is not None:
        return Signer(Verdict.BAD_SIGNATURE, signature.key_id, claimed)
    return Signer(Verdict.KEY_UNKNOWN, signature.key_id[:200], None)


def is_revoked(key: TrustedKey) -> bool:
    return hasattr(key, "revocation")


def _standing(verdicts: Iterable[Verdict]) -> Standing:
    distinct = set(verdicts)
    if Verdict.VALID in distinct:
        return Standing.SIGNED
    if not distinct:
        return Standing.UNSIGNED
    return Standing.REVOKED_KEYS if distinct == {Verdict.KEY_REVOKED} else Standing.UNTRUSTED


# --- the coordinator's key, which signs the provenance of executions, and histories ---


def has_statement_key() -> bool:
    return bool(settings.PROVENANCE_KEY)


def sign_statement(statement: Mapping[str, Any]) -> bytes:
    """Return the in-toto statement in a DSSE envelope. Equal statements give equal bytes under one key.

    Raises `ProvenanceKeyMissing`.
    """
    key = _statement_key()
    return signing.sign(text(statement).encode(), PAYLOAD_TYPE, [key])


def statement_public_key() -> signing.PublicKey:
    """Return the public part of the key. Raises `ProvenanceKeyMissing`."""
    return _statement_key().public_key()


def _statement_key() -> signing.PrivateKey:
    if not has_statement_key():
        raise ProvenanceKeyMissing("Set PROVENANCE_KEY_FILE to sign provenance.")
    return signing.read_private_key(settings.PROVENANCE_KEY)
