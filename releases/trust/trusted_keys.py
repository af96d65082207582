"""A tenant's trusted keys: added, and revoked for good. Rotation is adding the next one and revoking the last."""

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from releases.errors import KeyConflict, KeyInvalid, KeyUnknown, ReasonRequired
from releases.models import KeyRevocation, TrustedKey
from tenancy.models import Tenant
from wire.documents import signing
from wire.identifying import RULE, is_identifier

NAME_LENGTH = 100


def of(tenant: Tenant) -> QuerySet[TrustedKey]:
    """Every key that `tenant` trusts or once trusted, each with its revocation."""
    return TrustedKey.objects.filter(tenant=tenant).select_related("revocation")


def find(tenant: Tenant, key_id: str) -> TrustedKey:
    """Raises `KeyUnknown`."""
    found = of(tenant).filter(key_id=key_id).first()
    if found is None:
        raise KeyUnknown(f"There is no trusted key {key_id!r}.")
    return found


def add(tenant: Tenant, *, name: str, public_key: str, actor: str) -> TrustedKey:
    """Trust the ed25519 key whose public part is given in PEM form.

    Raises `KeyInvalid`, and `KeyConflict` where the tenant has the name or the key, be it revoked or not.
    """
    if not name.strip() or len(name) > NAME_LENGTH:
        raise _invalid("name", f"A key has a name of 1 to {NAME_LENGTH} characters.")
    if not is_identifier(name.strip()):
        raise _invalid("name", f"The name of a key {RULE}.")
    try:
        key = signing.read_public_key(public_key)
    except signing.KeyUnusable as error:
        raise _invalid("publicKey", str(error)) from None
    try:
        with transaction.atomic():
            return TrustedKey.objects.create(
                tenant=tenant,
                name=name.strip(),
                key_id=signing.key_id(key),
                public_key=signing.to_pem(key),
                added_by=actor,
            )
    except IntegrityError:
        raise KeyConflict(f"Key {signing.key_id(key)}, or one named {name.strip()!r}, is known already.") from None


def revoke(key: TrustedKey, *, actor: str, reason: str) -> KeyRevocation:
    """Trust `key` no more, and return the event. Repeating it returns the first one. Raises `ReasonRequired`.

    What it signed counts as signed by a revoked key from now on; what is active stays active.
    """
    if not reason.strip():
        raise ReasonRequired("The revocation of a key must say why.")
    made, _ = KeyRevocation.objects.get_or_create(key=key, defaults={"actor": actor, "reason": reason.strip()})
    return made


def _invalid(field: str, message: str) -> KeyInvalid:
    return KeyInvalid(message, errors=[{"field": field, "code": "KEY", "message": message}])
