"""Codes of an authenticator app (TOTP, RFC 6238) and recovery codes, as second factors of people with passwords.

django-allauth computes the codes. This module checks them under a lock on their rows, so that no two requests use the
same code. The secrets in the rows are encrypted with a key that is derived from SECRET_KEY. Only processes with
SECOND_FACTOR=true import this module.
"""

from base64 import urlsafe_b64encode
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
from tenancy.access import actor, record_of_user
from tenancy.audit.acts import Act

NAME: Final = "Durable coordinator"
APP, RECOVERY = Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES
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


def _cipher() -> MultiFernet:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    derived = (salted_hmac("tenancy.second_factor", "", secret=key, algorithm="sha256").digest() for key in keys)
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])


def is_on(user: User | AnonymousUser) -> bool:
    return bool(Authenticator.objects.filter(user=user.pk, type=APP).exists())


def app_link(user: User, secret: str) -> str:
    """Return the address with which an authenticator app on the same device adds the account."""
    return str(Adapter().build_totp_url(user, secret))


def picture(link: str) -> str:
    """Return the QR code of the link as SVG."""
    written = BytesIO()
    qrcode.make(link, image_factory=SvgPathImage).save(written)
    return written.getvalue().decode()


def turn_on(user: User, secret: str, code: str) -> list[str] | None:
    """Store the secret of the user's app, and return new recovery codes, which are not shown again.

    Return None, and store nothing, if `code` is not the app's present one, or if the second factor is on already.
    """
    counter = _counter(secret, code, after=0)
    if counter is None:
        return None
    try:
        with transaction.atomic():
            app = TOTP.activate(user, secret).instance
            Authenticator.objects.filter(pk=app.pk).update(data={**app.data, "counter": counter})
            codes: list[str] = RecoveryCodes.activate(user).generate_codes()
            record_of_user(Act.USER_SECOND_FACTOR, user, on=True)
    except IntegrityError:
        return None
    return codes


def turn_off(user: User, *, by: str = "") -> bool:
    """Remove the second factor and its recovery codes. Return False if there was none.

    `by` is the actor in the audit log, if it is not the user.
    """
    with transaction.atomic():
        removed, _ = Authenticator.objects.filter(user=user).delete()
        if removed:
            name = user.get_username()
            audit.record(Act.USER_SECOND_FACTOR, tenant=None, actor=by or actor(user), object=name, on=False)
    return bool(removed)


def accepts(user: User, code: str) -> bool:
    """Return True if `code` is one of the app or an unused recovery code. It is then used, and not accepted again."""
    code = "".join(code.split())
    with transaction.atomic():
        rows = Authenticator.objects.select_for_update().filter(user=user).order_by("pk")
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
