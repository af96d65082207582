"""What django-allauth asks about accounts, with an identity provider and with second factors."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    def get_login_stages(self) -> list[str]:
        """Ask for no second factor after the identity provider, which has its own."""
        return []

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Show no message after a sign-in, as after a log-in with a password."""
