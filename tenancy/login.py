"""Log-in with a password, and the validators of new ones. All log-in forms of the product use this module."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib.auth import authenticate, logout
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import ValidationError
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from tenancy import audit
from tenancy.access import end_tokens, record_of_user
from tenancy.audit.acts import Act
from tenancy.login_throttle import Attempt, LoginThrottled
from tenancy.origin import client_address

logger = logging.getLogger(__name__)


class ThrottledBackend(ModelBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Raises `LoginThrottled`. Without a request, as in a shell, there is no limit."""
        if request is None or username is None or password is None:
            return super().authenticate(request, username, password, **kwargs)
        address = client_address(request.META)
        attempt = Attempt(username, address)
        try:
            attempt.count()
        except LoginThrottled:
            _audit_attempt(username, audit.Outcome.DENIED, "Too many log-ins have failed.")
            logger.warning("Rejected a log-in from %s after too many failures", address or "an unknown address")
            raise
        user = super().authenticate(request, username, password, **kwargs)
        if user is not None:
            attempt.uncount()
        else:
            _audit_attempt(username, audit.Outcome.FAILED, "The name or the password is wrong.")
        return user


def _audit_attempt(username: str, outcome: str, reason: str) -> None:
    """Record a log-in that was not granted. A name that no user has may be a password, so it is not recorded."""
    known = User.objects.filter(username=username).exists()
    audit.observe(
        Act.USER_LOG_IN,
        tenant=None,
        actor="anonymous",
        object_type="user",
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


def end_everywhere(request: HttpRequest, password: str) -> bool:
    """End all sessions and tokens of the current user. Return False if `password` is not theirs.

    This stores the same password with a new salt. Sessions contain a digest of the stored hash, and
    `TokensEndWithPassword` ends the tokens.
    """
    user = confirmed(request, password)
    if user is None:
        return False
    with transaction.atomic():
        user.set_password(password)
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
        return "A new password immediately ends the person's other sessions and all API tokens that they have issued."
