"""The settings of the ways to sign in, and of django-allauth, which they use. See docs/how-to/set-up-sign-in.md.

Without a provider and second factors, no process loads allauth, and the database has none of its tables.
"""

from collections.abc import Mapping
from typing import Any, Final

from foundation.env import Environment
from tenancy.sign_in import mapping

BASE: Final = ("allauth", "allauth.account")
OF_PROVIDER: Final = ("allauth.socialaccount", "allauth.socialaccount.providers.openid_connect")
OF_SECOND_FACTOR: Final = ("allauth.mfa",)
MIDDLEWARE: Final = "allauth.account.middleware.AccountMiddleware"
AFTER: Final = "coordinator.session_middleware.time_zones"


def read(env: Environment, apps: list[str], middleware: list[str]) -> dict[str, Any]:
    """Return the settings. Add what a provider or second factors need to `apps` and `middleware`."""
    values: dict[str, Any] = {
        "OIDC_ISSUER": env.url("OIDC_ISSUER", secure=True),
        "OIDC_CLIENT_ID": env.text("OIDC_CLIENT_ID", ""),
        "OIDC_CLIENT_SECRET": env.secret("OIDC_CLIENT_SECRET", required=False),
        "OIDC_PROVIDER": env.text("OIDC_PROVIDER", "oidc"),
        "OIDC_NAME": env.text("OIDC_NAME", "single sign-on"),
        "OIDC_SCOPES": env.words("OIDC_SCOPES", "openid,profile,email"),
        "OIDC_USERNAME_CLAIM": env.text("OIDC_USERNAME_CLAIM", "preferred_username"),
        "OIDC_GROUPS_CLAIM": env.text("OIDC_GROUPS_CLAIM", "groups"),
        "OIDC_ROLES": env.parsed("OIDC_ROLES", "list", mapping.read_roles),
        "OIDC_GROUPS": env.parsed("OIDC_GROUPS", "list", mapping.read_groups),
        "OIDC_LINK_USERS": env.flag("OIDC_LINK_USERS", False),
        "OIDC_ALLOWED_NETWORKS": env.networks("OIDC_ALLOWED_NETWORKS"),
        "OIDC_CA_FILE": env.certificates("OIDC_CA_FILE"),
    }
    needed = [bool(values[name]) for name in ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")]
    env.require(len(set(needed)) == 1, "OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET must all be set, or none")
    provider = values["OIDC_PROVIDER"]
    env.require(
        provider.isascii() and provider.replace("-", "").isalnum(),
        "OIDC_PROVIDER must have letters, digits and hyphens only",
    )
    mapped = values["OIDC_ROLES"] or values["OIDC_GROUPS"]
    env.require(needed[0] or not mapped, "OIDC_ROLES and OIDC_GROUPS require OIDC_ISSUER")
    values["SECOND_FACTOR"] = env.flag("SECOND_FACTOR", False)
    if needed[0] or values["SECOND_FACTOR"]:
        apps += BASE
        apps += OF_PROVIDER if needed[0] else ()
        apps += OF_SECOND_FACTOR if values["SECOND_FACTOR"] else ()
        middleware.insert(middleware.index(AFTER) + 1, MIDDLEWARE)
        values |= _of_allauth(values)
    return values


def _of_allauth(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of django-allauth. It stores no tokens of the provider, and sends no mail."""
    app = {
        "provider_id": values["OIDC_PROVIDER"],
        "name": values["OIDC_NAME"],
        "client_id": values["OIDC_CLIENT_ID"],
        "secret": values["OIDC_CLIENT_SECRET"],
        "settings": {"server_url": values["OIDC_ISSUER"], "fetch_userinfo": False, "scope": values["OIDC_SCOPES"]},
    }
    return {
        "SOCIALACCOUNT_PROVIDERS": {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}},
        "SOCIALACCOUNT_ADAPTER": "tenancy.sign_in.adapters.ProviderAdapter",
        "SOCIALACCOUNT_EMAIL_VERIFICATION": "none",
        "SOCIALACCOUNT_STORE_TOKENS": False,
        "ACCOUNT_ADAPTER": "tenancy.sign_in.account_adapter.AccountAdapter",
        "ACCOUNT_EMAIL_VERIFICATION": "none",
        "MFA_ADAPTER": "tenancy.sign_in.second_factor.Adapter",
        "MFA_SUPPORTED_TYPES": ["totp", "recovery_codes", "webauthn"],
        "MFA_TOTP_ISSUER": "Durable coordinator",
        "MFA_TOTP_TOLERANCE": 1,
    }
