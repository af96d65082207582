"""The second factors of people with passwords: authenticator app (TOTP, RFC 6238), passkeys, and recovery codes.

A user has at most one app, several passkeys (`tenancy.sign_in.passkeys`), and recovery codes while one of these exists.
django-allauth computes the codes. This module checks them under a lock on their rows, so that no two requests use the
same code. The secrets in the rows are encrypted with a key that is derived from SECRET_KEY. Only processes with
SECOND_FACTOR=true import this module.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import qrcode
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from qrcode.image.svg import SvgPathImage

from tenancy import audit
from tenancy.access import record_of_user
from tenancy.audit.acts import Act

NAME: Final = "Durable coordinator"
APP, PASSKEY, RECOVERY = Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN, Authenticator.Type.RECOVERY_CODES
METHODS: Final = (APP, PASSKEY)
APP_NAME: Final = "authenticator app"
new_secret = generate_totp_secret


class Adapter(DefaultMFAAdapter):
    """Encrypts what allauth stores. A value that no present key can decrypt is empty, and no code matches it."""

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return _cipher().decrypt(encrypted_text).decode()
        except InvalidToken:
            return ""

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": NAME}


def _cipher() -> MultiFernet:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    derived = (salted_hmac("tenancy.second_factor", "", secret=key, algorithm="sha256").digest() for key in keys)
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])


def is_on(user: User | AnonymousUser) -> bool:
    return bool(methods(user).exists())


def methods(user: User | AnonymousUser) -> Any:
    """Return the rows of the user's app and passkeys, oldest first."""
    return Authenticator.objects.filter(user=user.pk, type__in=METHODS).order_by("created_at", "pk")


def has_app(user: User) -> bool:
    return bool(methods(user).filter(type=APP).exists())


def name_of(method: Any) -> str:
    return APP_NAME if method.type == APP else f"passkey {method.data['name']}"


@dataclass
class Change:
    codes: list[str] = field(default_factory=list)
    """The new recovery codes, which are not shown again. Empty if the user has earlier ones."""


@contextmanager
def changing(user: User, **details: str) -> Iterator[Change]:
    """Lock the user's second factors for a transaction. With `details`, it adds, removes or renews what they say.

    At its end, there are recovery codes exactly if there is a method, and the change is recorded.
    """
    change = Change()
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        yield change
        if not details:
            return
        recovery = Authenticator.objects.filter(user=user, type=RECOVERY)
        if not (on := is_on(user)):
            recovery.delete()
        elif not recovery.exists():
            change.codes = RecoveryCodes.activate(user).generate_codes()
        record_of_user(Act.USER_SECOND_FACTOR, user, by=user, on=on, **details)


def app_link(user: User, secret: str) -> str:
    """Return the address with which an authenticator app on the same device adds the account."""
    return str(Adapter().build_totp_url(user, secret))


def picture(link: str) -> str:
    """Return the QR code of the link as SVG."""
    written = BytesIO()
    qrcode.make(link, image_factory=SvgPathImage).save(written)
    return written.getvalue().decode()


def add_app(user: User, secret: str, code: str) -> list[str] | None:
    """Store the secret of the user's app. Return new recovery codes, or nothing if the user has some.

    Return None, and store nothing, if `code` is not the app's present one, or if the user has an app already.
    """
    counter = _counter(secret, code, after=0)
    if counter is None:
        return None
    try:
        with changing(user, added=APP_NAME) as change:
            app = TOTP.activate(user, secret).instance
            Authenticator.objects.filter(pk=app.pk).update(data={**app.data, "counter": counter})
    except IntegrityError:
        return None
    return change.codes


def remove(user: User, method: Any) -> None:
    """Remove one method. With the last one, the recovery codes go, and the password alone is enough to log in."""
    with changing(user, removed=name_of(method)):
        method.delete()


def renew_codes(user: User) -> list[str]:
    """Replace the recovery codes, used ones too. Return the new ones, or nothing if the second factor is off."""
    with changing(user, renewed="recovery codes") as change:
        Authenticator.objects.filter(user=user, type=RECOVERY).delete()
    return change.codes


def codes_left(user: User) -> int:
    """Return the number of unused recovery codes."""
    row = Authenticator.objects.filter(user=user, type=RECOVERY).first()
    return len(RecoveryCodes(row).get_unused_codes()) if row and Adapter().decrypt(row.data["seed"]) else 0


def turn_off(user: User, *, by: str) -> bool:
    """Remove all methods and the recovery codes. Return False if there was none. `by` is the actor in the audit log."""
    with transaction.atomic():
        removed, _ = Authenticator.objects.filter(user=user).delete()
        if removed:
            name = user.get_username()
            audit.record(Act.USER_SECOND_FACTOR, tenant=None, actor=by, object=name, on=False)
    return bool(removed)


def accepts(user: User, code: str) -> bool:
    """Return True if `code` is one of the app or an unused recovery code. It is then used, and not accepted again."""
    code = "".join(code.split())
    with transaction.atomic():
        rows = Authenticator.objects.select_for_update().filter(user=user, type__in=(APP, RECOVERY)).order_by("pk")
        return any(_uses(row, code) for row in rows)


def _uses(row: Any, code: str) -> bool:
    data = _after_app(row, code) if row.type == APP else _after_recovery(row, code)
    if data is not None:
        Authenticator.objects.filter(pk=row.pk).update(data=data, last_used_at=timezone.now())
    return data is not None


def _after_app(row: Any, code: str) -> dict[str, Any] | None:
    """Return the data of the row once the code is used; None if it is not valid, or not newer than the last one."""
    secret = Adapter().decrypt(row.data["secret"])
    counter = _counter(secret, code, after=row.data.get("counter", 0)) if secret else None
    return None if counter is None else {"secret": Adapter().encrypt(secret), "counter": counter}


def _after_recovery(row: Any, code: str) -> dict[str, Any] | None:
    seed, used = Adapter().decrypt(row.data["seed"]), row.data["used_mask"]
    for place, expected in enumerate(RecoveryCodes(row).generate_codes() if seed else ()):
        if not used >> place & 1 and constant_time_compare(code, expected):
            return {**row.data, "seed": Adapter().encrypt(seed), "used_mask": used | 1 << place}
    return None


def _counter(secret: str, code: str, *, after: int) -> int | None:
    """Return the time step of the code; None if it is not valid now, or not later than `after`."""
    for counter in yield_hotp_counters_from_time():
        if counter > after and constant_time_compare(code, format_hotp_value(hotp_value(secret, counter))):
            return int(counter)
    return None
