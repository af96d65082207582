"""Credentials from the environment: static ones, and bearers that an OAuth issuer gives to a client."""

import re
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from tests.parts.clients.tpf_cli import strict_json
from tests.parts.clients.tpf_cli.exchange import ExchangeFailed, exchange
from tests.parts.clients.tpf_cli.failures import NotAuthorised

SCOPE = "tpf:deploy"
_OAUTH_SECONDS = 30
_MAX_TOKEN_BYTES = 64 * 1024
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def bearer(name: str, environment: Mapping[str, str]) -> str:
    """Return the bearer of the credential with this name. Raises `NotAuthorised`.

    The bearer of `oauth-client:ci` is that of the client TPF_OAUTH_CI_CLIENT_ID at TPF_OAUTH_CI_ISSUER. The bearer
    of any other credential, such as `cloud`, is TPF_CREDENTIAL_CLOUD.
    """
    source, _, profile = name.partition(":")
    if source == "oauth-client":
        return _client_bearer(profile, environment)
    token = environment.get(static(name), "")
    if source == "oauth-session" or not token.strip():
        raise NotAuthorised(f"there is no bearer for the credential {name}")
    return token


def static(name: str) -> str:
    """Return the environment variable of a static credential."""
    return f"TPF_CREDENTIAL_{re.sub('[^A-Z0-9]', '_', name.upper())}"


def _client_bearer(profile: str, environment: Mapping[str, str]) -> str:
    if not _PROFILE.fullmatch(profile):
        raise NotAuthorised("the name of an OAuth client has letters, digits, '_' and '-'")
    prefix = f"TPF_OAUTH_{profile.upper().replace('-', '_')}"
    names = tuple(f"{prefix}_{part}" for part in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
    issuer, client, secret = (environment.get(name, "") for name in names)
    if not (issuer.strip() and client.strip() and secret.strip()):
        raise NotAuthorised(f"set {', '.join(names)}")
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, "scope": SCOPE}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{_origin(issuer)}/oauth2/token"
    try:
        response = exchange("POST", url, headers, urlencode(form).encode(), seconds=_OAUTH_SECONDS)
        document = strict_json.read(response.body[: _MAX_TOKEN_BYTES + 1])
    except (ExchangeFailed, ValueError):
        raise NotAuthorised("the OAuth issuer gives no usable response") from None
    return _token(response.status, document)


def _origin(issuer: str) -> str:
    parts = urlsplit(issuer)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not secure or parts.username or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise NotAuthorised("an OAuth issuer must be an https origin, or http on this machine")
    return f"{parts.scheme}://{parts.netloc}"


def _token(status: int, document: object) -> str:
    if not 200 <= status < 300 or not isinstance(document, dict):
        raise NotAuthorised(f"the OAuth issuer gives no token (status {status})")
    token, lifetime = document.get("access_token"), document.get("expires_in")
    if str(document.get("token_type")).lower() != "bearer" or not isinstance(token, str) or not token.strip():
        raise NotAuthorised("the OAuth issuer gives no bearer")
    if type(lifetime) is not int or lifetime <= 0:
        raise NotAuthorised("expires_in must be a positive number of seconds")
    return token
