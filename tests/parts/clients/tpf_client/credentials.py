"""Credentials from the environment: static ones, and bearers that an OAuth issuer gives to a client."""

from collections.abc import Mapping
from urllib.parse import urlencode

from tests.parts.clients.tpf_client import strict_json
from tests.parts.clients.tpf_client.exchange import ExchangeFailed, exchange
from tests.parts.clients.tpf_client.failures import NotAuthorised

SCOPE = "tpf:deploy"
_OAUTH_SECONDS = 30
_MAX_TOKEN_BYTES = 64 * 1024


def bearer(name: str, environment: Mapping[str, str]) -> str:
    """Return the bearer of the credential with this name. Raises `NotAuthorised`.

    The bearer of `oauth-client:ci` is that of the client TPF_OAUTH_CI_CLIENT_ID at TPF_OAUTH_CI_ISSUER. The bearer
    of any other credential, such as `cloud`, is TPF_CREDENTIAL_CLOUD.
    """
    source, _, profile = name.partition(":")
    if source == "oauth-client":
        return _client_bearer(profile, environment)
    token = environment.get(f"TPF_CREDENTIAL_{name.upper()}", "")
    if source == "oauth-session" or not token.strip():
        raise NotAuthorised(f"there is no bearer for the credential {name}")
    return token


def _client_bearer(profile: str, environment: Mapping[str, str]) -> str:
    prefix = f"TPF_OAUTH_{profile.upper().replace('-', '_')}"
    names = tuple(f"{prefix}_{part}" for part in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
    issuer, client, secret = (environment.get(name, "") for name in names)
    if not (issuer.strip() and client.strip() and secret.strip()):
        raise NotAuthorised(f"set {', '.join(names)}")
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, "scope": SCOPE}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{issuer}/oauth2/token"
    try:
        response = exchange("POST", url, headers, urlencode(form).encode(), seconds=_OAUTH_SECONDS)
        document = strict_json.read(response.body[: _MAX_TOKEN_BYTES + 1])
    except (ExchangeFailed, ValueError):
        raise NotAuthorised("the OAuth issuer gives no usable response") from None
    return _token(response.status, document)


def _token(status: int, document: object) -> str:
    if not 200 <= status < 300 or not isinstance(document, dict):
        raise NotAuthorised(f"the OAuth issuer gives no token (status {status})")
    token, lifetime = document.get("access_token"), document.get("expires_in")
    if str(document.get("token_type")).lower() != "bearer" or not isinstance(token, str) or not token.strip():
        raise NotAuthorised("the OAuth issuer gives no bearer")
    if type(lifetime) is not int or lifetime <= 0:
        raise NotAuthorised("expires_in must be a positive number of seconds")
    return token
