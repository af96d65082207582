"""What django-allauth asks the coordinator: how to call the provider, who may sign in, and what a failure shows."""

import logging
from typing import Any, NoReturn

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponse
from django.shortcuts import render

from tenancy.login import Attempt
from tenancy.origin import client_address
from tenancy.sign_in.admission import SignInRefused, admit, read_identity, record_refusal, require_role
from tenancy.sign_in.provider_calls import vetted_session

log = logging.getLogger(__name__)


class ProviderAdapter(DefaultSocialAccountAdapter):
    def get_requests_session(self) -> requests.Session:
        return vetted_session()

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Admit the person, and link a new one to the user. A refusal ends the request with a page."""
        claims = sociallogin.account.extra_data.get("id_token") or {}
        try:
            if str(claims.get("iss")).rstrip("/") != settings.OIDC_ISSUER:
                raise SignInRefused("The ID token is from another issuer than OIDC_ISSUER.")
            identity = read_identity(claims)
            with transaction.atomic():
                account = sociallogin.user
                linked = account if isinstance(account, User) and sociallogin.is_existing else None
                user = admit(identity, linked)
                if linked is None:
                    _link(request, sociallogin, user)
            require_role(user)
        except SignInRefused as refusal:
            record_refusal(claims.get(settings.OIDC_USERNAME_CLAIM), str(refusal))
            raise ImmediateHttpResponse(failure_page(request, str(refusal), status=403)) from None
        except IntegrityError:
            raise ImmediateHttpResponse(failure_page(request, "Two sign-ins met. Sign in again.", 409)) from None
        sociallogin.user = user
        Attempt(None, client_address(request.META)).uncount()

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> NoReturn:
        cancelled = error == AuthError.CANCELLED
        if not cancelled:
            log.warning("a sign-in with the identity provider failed: %s", type(exception).__name__)
        reason = "You cancelled it, or the identity provider did not allow it." if cancelled else FAILED
        raise ImmediateHttpResponse(failure_page(request, reason, status=403 if cancelled else 502))


def _link(request: HttpRequest, sociallogin: SocialLogin, user: User) -> None:
    """Link the person to the user. A user belongs to one person, even if the provider gives the name to another."""
    if SocialAccount._default_manager.filter(user=user).exists():
        raise SignInRefused(
            f"The user {user.username!r} of the coordinator belongs to another person of the identity provider. A"
            " superuser of the coordinator can rename that user."
        )
    sociallogin.connect(request, user)


FAILED = "The identity provider did not confirm who you are, or the sign-in took too long. Sign in again."


def failure_page(request: HttpRequest, reason: str, status: int) -> HttpResponse:
    context = {"reason": reason, "provider": settings.OIDC_NAME}
    return render(request, "tenancy/sign_in_failed.html", context, status=status)
