"""Password validators."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from tenancy.access import end_tokens


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
