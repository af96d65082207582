"""Adds and revokes trusted keys of a tenant. To rotate keys, add the new key and revoke the old one."""

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from releases.errors import KeyConflict, KeyInvalid, KeyUnknown, ReasonRequired
from releases.models import KeyRevocation, TrustedKey
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents import signing
from wire.identifying import RULE, is_identifier

NAME_LENGTH = 100


def of(tenant: Tenant) -> QuerySet[TrustedKey]:
    """Return all trusted keys of `tenant`, including revoked ones, each with its revocation."""
    return TrustedKey.objects.filter(tenant=tenant).select_related("revocation")


def find(tenant: Tenant, key_id: str) -> TrustedKey:
    """Return the key of `tenant` with this id. Raises `KeyUnknown`."""
    found = of(tenant).filter(key_id=key_id).first()
    if found is None:
        raise KeyUnknown(f"There is no trusted key {key_id!r}.")
    return found


def add(tenant: Tenant, *, name: str, public_key: str, actor: str) -> TrustedKey:
    """Trust an ed25519 key. `public_key` is its public key in PEM form.

    Raises `KeyInvalid`, and `KeyConflict` if the tenant has a key with this name or this key, revoked or not.
    """
    if not name.strip() or len(name) > NAME_LENGTH:
        raise _invalid("name", f"The name of a key has 1 to {NAME_LENGTH} characters.")
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


def revoke(key: TrustedKey, *, actor: str, reason: str) -> KeyRevocation:
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
    audit.record(
        act, tenant=tenant, actor=actor, object_type="trusted_key", object=key.key_id, reason=reason, name=name
    )


def _invalid(field: str, message: str) -> KeyInvalid:
    return KeyInvalid(message, errors=[{"field": field, "code": "KEY", "message": message}])
