"""Log-in with a password, and the validators of new ones. All log-in forms of the product use this module.

Failed log-ins are limited. All processes share the counters, which are database rows. An attempt is counted before its
password is checked, and uncounted if the password is right. So concurrent requests cannot try more passwords than
sequential ones. A window has a fixed length, and rejected attempts are not counted, so further attempts cannot prolong
a lock. The limit per account does not apply to an address from which the account has logged in recently, so attackers
elsewhere cannot lock its owner out. See ADR 34.
"""

import logging
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.contrib.auth import authenticate, logout
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac

from foundation.errors import CoordinatorError
from tenancy import audit
from tenancy.access import end_tokens, record_of_user
from tenancy.audit.acts import Act
from tenancy.origin import client_address

T = TypeVar("T")
logger = logging.getLogger(__name__)
KNOWN_DAYS = 30
WINDOW_SECONDS = 900.0
PRUNE_LIMIT = 100

_LOOK_UP = """
SELECT key, CASE WHEN ends_at > now() THEN attempts ELSE 0 END, ends_at, coalesce(known_until > now(), false)
FROM tenancy_logincounter WHERE key = ANY (%(keys)s)
"""
# The rows are locked in the order of their keys, so that two attempts never deadlock.
_COUNT = """
INSERT INTO tenancy_logincounter AS c (key, attempts, ends_at)
SELECT key, 1, now() + make_interval(secs => %(window)s) FROM unnest(%(keys)s::text[]) AS key ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    attempts = CASE WHEN c.ends_at > now() THEN c.attempts + 1 ELSE 1 END,
    ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END
RETURNING key, attempts, ends_at, coalesce(known_until > now(), false)
"""
_UNCOUNT = """
WITH locked AS (SELECT key FROM tenancy_logincounter WHERE key = ANY (%(keys)s) ORDER BY key FOR UPDATE)
UPDATE tenancy_logincounter c SET
    attempts = CASE WHEN c.key = %(pair)s THEN 0 ELSE greatest(c.attempts - 1, 0) END,
    known_until = CASE WHEN c.key = %(pair)s THEN now() + make_interval(days => %(days)s) END
FROM locked WHERE locked.key = c.key
"""
_PRUNE = """
DELETE FROM tenancy_logincounter WHERE key IN (
    SELECT key FROM tenancy_logincounter WHERE ends_at <= now() AND (known_until IS NULL OR known_until <= now())
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""


class LoginThrottled(CoordinatorError, status=429, title="Too many failed log-ins"):
    """Try again later.

    Too many log-ins have failed. The next attempt is accepted after `until`.
    """

    def __init__(self, until: datetime) -> None:
        super().__init__(f"Too many log-ins have failed. Try again after {timezone.localtime(until):%H:%M:%S %Z}.")
        self.until = until

    @property
    def seconds(self) -> int:
        """The time to wait in whole seconds, at least 1."""
        return max(1, math.ceil((self.until - timezone.now()).total_seconds()))


class _Counter(NamedTuple):
    key: str
    attempts: int
    ends_at: datetime
    known: bool


class Attempt:
    """One log-in of `account` from `address`. Without an account, which is not known yet, only the address counts."""

    def __init__(self, account: str | None, address: str) -> None:
        self.address = address
        self._limits = {_key("address", address): settings.LOGIN_ATTEMPTS_PER_ADDRESS}
        self._pair = self._account = ""
        if account is not None:
            self._pair, self._account = _key("pair", account, address), _key("account", account)
            self._limits[self._pair] = settings.LOGIN_ATTEMPTS
            self._limits[self._account] = settings.LOGIN_ATTEMPTS_PER_ACCOUNT

    def count(self) -> None:
        """Count the attempt. Raises `LoginThrottled`; the caller must then not check the password."""
        keys = list(self._limits)
        with connection.cursor() as cursor:
            cursor.execute(_LOOK_UP, {"keys": keys})
            self._require_room([_Counter(*row) for row in cursor.fetchall()], taken=1)
            cursor.execute(_COUNT, {"keys": keys, "window": WINDOW_SECONDS})
            counted = [_Counter(*row) for row in cursor.fetchall()]
            cursor.execute(_PRUNE, [PRUNE_LIMIT])
        # Other processes may have counted attempts between the two statements.
        self._require_room(counted, taken=0)

    def uncount(self) -> None:
        """Uncount the attempt because it succeeded, and store the address as known to the account for KNOWN_DAYS."""
        with connection.cursor() as cursor:
            cursor.execute(_UNCOUNT, {"keys": list(self._limits), "pair": self._pair, "days": KNOWN_DAYS})

    def _require_room(self, counters: Sequence[_Counter], *, taken: int) -> None:
        known = any(counter.known for counter in counters)
        ends = [
            counter.ends_at
            for counter in counters
            if counter.attempts + taken > self._limits[counter.key] and not (known and counter.key == self._account)
        ]
        if ends:
            raise LoginThrottled(max(ends))


def _key(*parts: str) -> str:
    # Each part is encoded with its length, so that different lists of parts have different keys.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return salted_hmac("tenancy.login_throttle", text, algorithm="sha256").hexdigest()


# --- log-ins ---


class ThrottledBackend(ModelBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Raises `LoginThrottled`. Without a request, as in a shell, there is no limit."""
        if request is None or username is None or password is None:
            return super().authenticate(request, username, password, **kwargs)
        check = partial(super().authenticate, request, username, password, **kwargs)
        attempt = Attempt(username, client_address(request.META))
        return limited(attempt, username, check, wrong="The name or the password is wrong.")


def limited(attempt: Attempt, username: str, check: Callable[[], T], *, wrong: str) -> T:
    """Return what `check` returns. Each false result counts as a failed log-in and is recorded with the reason `wrong`.

    Raises `LoginThrottled`, which is recorded too, and then does not call `check`.
    """
    try:
        attempt.count()
    except LoginThrottled:
        _audit_attempt(username, audit.Outcome.DENIED, "Too many log-ins have failed.")
        logger.warning("Rejected a log-in from %s after too many failures", attempt.address or "an unknown address")
        raise
    user = check()
    if user:
        attempt.uncount()
    else:
        _audit_attempt(username, audit.Outcome.FAILED, wrong)
    return user


def _audit_attempt(username: str, outcome: str, reason: str) -> None:
    """Record a log-in that was not granted. A name that no user has may be a password, so it is not recorded."""
    known = User.objects.filter(username=username).exists()
    audit.observe(
        Act.USER_LOG_IN,
        tenant=None,
        actor="anonymous",
        object=username if known else "(unknown)",
        outcome=outcome,
        reason=reason,
    )


@receiver(user_logged_in)
def _audit_log_in(user: User, **_: Any) -> None:
    record_of_user(Act.USER_LOG_IN, user)


@receiver(user_logged_out)
def _audit_log_out(user: User | None, **_: Any) -> None:
    if user is not None:
        record_of_user(Act.USER_LOG_OUT, user)


def confirmed(request: HttpRequest, password: str) -> User | None:
    """Return the current user if this is their password, otherwise None. Raises `LoginThrottled` as a log-in does."""
    user = authenticate(request, username=request.user.get_username(), password=password)
    return user if isinstance(user, User) and user.pk == request.user.pk else None


def has_password(request: HttpRequest) -> bool:
    """False if the current user signs in with an identity provider only."""
    return isinstance(request.user, User) and request.user.has_usable_password()


def end_everywhere(request: HttpRequest, password: str) -> bool:
    """End all sessions and tokens of the current user. Return False if `password` is not theirs.

    This stores the same password with a new salt. Sessions contain a digest of the stored hash, and
    `TokensEndWithPassword` ends the tokens. People without a password sign in with an identity provider only.
    """
    user = confirmed(request, password) if has_password(request) else request.user
    if not isinstance(user, User):
        return False
    with transaction.atomic():
        if user.has_usable_password():
            user.set_password(password)
        else:
            user.set_unusable_password()
            end_tokens(user)
        user.save(update_fields=["password"])
        record_of_user(Act.USER_END_SESSIONS, user)
    logout(request)
    return True


class ThrottledPage:
    """Middleware that responds to `LoginThrottled` with a page that shows when the lock ends."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        if not isinstance(exception, LoginThrottled):
            return None
        response = render(request, "429.html", {"until": exception.until}, status=exception.status)
        response.headers["Retry-After"] = str(exception.seconds)
        return response


class DistinctCharacters:
    """Rejects passwords that repeat a few characters, such as `aaaaaaaaaaaa` and `abcabcabcabc`."""

    def __init__(self, least: int = 6) -> None:
        self._least = least

    def validate(self, password: str, user: Any = None) -> None:
        if len(set(password)) < self._least:
            raise ValidationError(
                f"This password needs at least {self._least} different characters.", code="password_too_uniform"
            )

    def get_help_text(self) -> str:
        return f"Your password must contain at least {self._least} different characters."


class TokensEndWithPassword:
    """Ends a person's tokens when their password changes. It accepts every password.

    Django calls `password_changed` when a new password is saved, but not when it upgrades the hash of the old one.
    """

    def validate(self, password: str, user: Any = None) -> None:
        pass

    def password_changed(self, password: str, user: Any = None) -> None:
        if isinstance(user, User):
            end_tokens(user)

    def get_help_text(self) -> str:
        return (
            "A new password immediately ends the other sessions of the user, and all API tokens that they have issued."
        )
