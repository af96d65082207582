"""Passkeys (WebAuthn) as second factors of people with passwords.

django-allauth and fido2 verify what browsers return. The challenge is in the session. A passkey works only under the
host name under which it was added.
"""

import json
import struct
from base64 import urlsafe_b64encode
from typing import Any, Final
from urllib.parse import urlsplit

from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth
from cryptography.exceptions import UnsupportedAlgorithm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from tenancy.sign_in.second_factor import PASSKEY, changing

MOST: Final = 10
LONGEST_NAME: Final = 50
LONGEST_RESPONSE: Final = 20_000
# What allauth and fido2 raise for a response that is malformed or not valid.
INVALID: Final = (
    ValidationError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    struct.error,
    UnsupportedAlgorithm,
)


class PasskeyRefused(Exception):
    """The passkey was not added. The message says why."""


def host() -> str:
    """Return the host name for which a passkey would be created now."""
    return str(auth.get_server().rp.id)


def creation_options(user: User) -> str:
    """Return what the browser needs to create a passkey, as JSON, and remember its challenge in the session."""
    return json.dumps(auth.begin_registration(user, passwordless=False))


def request_options(user: User) -> str:
    """Return what the browser needs to use a passkey of the user, as JSON; "" without a passkey.

    The challenge is remembered in the session.
    """
    return json.dumps(auth.begin_authentication(user)) if _of(user).exists() else ""


def add(user: User, name: str, response: str) -> list[str]:
    """Store the passkey that the browser created. Return new recovery codes, or nothing if the user has some.

    Raises `PasskeyRefused`, and then stores nothing.
    """
    try:
        credential = json.loads(response)
        parsed = auth.parse_registration_response(credential)
        created = auth.complete_registration(credential)
        _require_own_host(parsed)
    except INVALID:
        raise PasskeyRefused("The browser did not create a passkey for this page. Try again.") from None
    with changing(user, added=f"passkey {name}") as change:
        if _of(user).count() >= MOST:
            raise PasskeyRefused(f"You have {MOST} passkeys, which is the limit. Remove one first.")
        data = {"name": name, "credential": _stored(parsed), "counter": created.counter}
        Authenticator.objects.create(user=user, type=PASSKEY, data=data)
    return change.codes


def accepts(user: User, response: str) -> bool:
    """Return True if a passkey of the user signed the challenge of this session. The challenge is then used.

    A passkey that counts its uses must count further each time, so that a copy is noticed.
    """
    with changing(user):
        try:
            credential = json.loads(response)
            row = auth.complete_authentication(user, credential)
            parsed = auth.parse_authentication_response(credential)
            _require_own_host(parsed)
            counter = parsed.response.authenticator_data.counter
        except INVALID:
            return False
        before = row.data.get("counter", 0)
        if (counter or before) and counter <= before:
            return False
        _of(user).filter(pk=row.pk).update(data={**row.data, "counter": counter}, last_used_at=timezone.now())
        return True


def _of(user: User) -> Any:
    return Authenticator.objects.filter(user=user, type=PASSKEY)


def _require_own_host(parsed: Any) -> None:
    """Raise `ValueError` if a page of another host asked the browser: fido2 accepts pages of subdomains, too."""
    if urlsplit(parsed.response.client_data.origin).hostname != host():
        raise ValueError("another host")


def _stored(parsed: Any) -> dict[str, Any]:
    """Return the verified members of the browser's response. allauth reads the public key from them.

    They are encoded again: what the browser sent may have characters that no row can store.
    """
    client_data, attested = parsed.response.client_data, parsed.response.attestation_object
    response = {"clientDataJSON": _encoded(client_data), "attestationObject": _encoded(attested)}
    return {"rawId": _encoded(parsed.raw_id), "type": "public-key", "response": response}


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
