import base64
import functools
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenancy import oauth
from tests.http_server import HttpServer, Request, body_of, send

Kind = Literal["RSA", "EC", "Ed25519"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
AUDIENCE: Final = "https://coordinator.example/api"
ALGORITHMS: Final[Mapping[Kind, str]] = {"RSA": "RS256", "EC": "ES256", "Ed25519": "EdDSA"}


@functools.cache
def private_key(kind: Kind, number: int = 0, *, bits: int = 2048) -> PrivateKey:
    """Return the key with this number. RSA keys take long to generate, so all tests of a process share them."""
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, **members: Any) -> dict[str, Any]:
    public = key.public_key()
    algorithm: Any = jwt.get_algorithm_by_name(ALGORITHMS[_kind(key)])
    return {**algorithm.to_jwk(public, as_dict=True), **members}


def _kind(key: PrivateKey) -> Kind:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "EC" if isinstance(key, ec.EllipticCurvePrivateKey) else "Ed25519"


class OAuthIssuer(HttpServer):
    """An issuer with one current key, of the type RSA at first. Tests may change each attribute at any time."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.name = f"{self.origin}/"
        """The claim `iss`."""
        self.jwks_url = f"{self.origin}/keys"
        self.requests = 0
        """The number of requests for the key set."""
        self.is_down = False
        """If True, connections are closed without a response."""
        self.seconds = 0.0
        """The duration of each response in seconds."""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        """The response instead of the key set."""
        self.published: list[dict[str, Any]] = []
        """The key set. `rotate` replaces it."""
        self._rotations = 0
        self.rotate()

    def respond(self, request: Request) -> None:
        self.requests += 1
        time.sleep(self.seconds)
        if not self.is_down:
            body = self.body if self.body is not None else json.dumps({"keys": self.published}).encode()
            send(request, self.status, self.headers, body)

    def rotate(self, kind: Kind = "RSA") -> None:
        self._rotations += 1
        self.key = private_key(kind, self._rotations)
        self.key_id = f"key-{self._rotations}"
        self.published = [jwk(self.key, kid=self.key_id, use="sig")]

    def token(
        self,
        *,
        subject: str = "ci",
        organizations: Iterable[str] = ("acme",),
        scopes: Iterable[str] = ("releases:register",),
        audience: str | list[str] = AUDIENCE,
        expires_in: float = 300,
        headers: Mapping[str, Any] | None = None,
        key: Any = None,
        algorithm: str | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token (RFC 9068), signed with the current key or with `key`.

        `claims` and `headers` are added or replaced; None removes one.
        """
        now = int(time.time())
        payload = {
            "iss": self.name,
            "aud": audience,
            "sub": subject,
            "iat": now,
            "exp": now + int(expires_in),
            "scope": " ".join(scopes),
            "organization": list(organizations),
            **claims,
        }
        header = {"typ": "at+jwt", "kid": self.key_id, **(headers or {})}
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None},
            self.key if key is None else key,
            algorithm or ALGORITHMS[_kind(self.key)],
            headers={name: value for name, value in header.items() if value is not None},
        )

    def id_token(self, audience: str, claims: Mapping[str, Any]) -> str:
        return self.token(audience=audience, scopes=(), organizations=(), headers={"typ": "JWT"}, **claims)

    def configure(self, settings: Any) -> None:
        """Make this process accept this issuer's tokens. `settings` is the fixture, which restores the former ones."""
        settings.OAUTH_ISSUER = self.name
        settings.OAUTH_JWKS_URL = self.jwks_url
        settings.OAUTH_AUDIENCE = AUDIENCE
        settings.OAUTH_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
        oauth.cache.clear()


class OpenIdProvider(OAuthIssuer):
    """A provider whose page admits everyone at once as `person`, the claims of the next ID token. It requires PKCE."""

    CLIENT: Final = ("coordinator", "secret-of-the-coordinator")

    def __init__(self) -> None:
        super().__init__()
        self.name = self.origin
        self.person: dict[str, Any] = {}
        self.error = ""
        """The error with which people are sent back."""
        self.asked: list[dict[str, str]] = []
        """The queries of people who were sent here."""

    def settings(self, **more: str) -> dict[str, str]:
        client, secret = self.CLIENT
        return {
            "OIDC_ISSUER": self.name,
            "OIDC_CLIENT_ID": client,
            "OIDC_CLIENT_SECRET": secret,
            "OIDC_ALLOWED_NETWORKS": "127.0.0.0/8",
            **more,
        }

    def respond(self, request: Request) -> None:
        url = urlsplit(request.path)
        if self.is_down or self.body is not None:
            super().respond(request)
        elif url.path == "/authorize":
            self.asked.append(dict(parse_qsl(url.query)))
            answer = {"error": self.error} if self.error else {"code": f"code-{len(self.asked)}"}
            back = urlencode({**answer, "state": self.asked[-1]["state"]})
            send(request, 302, {"Location": f"{self.asked[-1]['redirect_uri']}?{back}"}, b"")
        elif url.path == "/token":
            send(request, *self._tokens(dict(parse_qsl(body_of(request).decode()))))
        elif url.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            places = {name: f"{self.origin}/{path}" for name, path in names.items()}
            document = {"issuer": self.name, "token_endpoint_auth_methods_supported": ["client_secret_post"], **places}
            send(request, 200, {"Content-Type": "application/json"}, json.dumps(document).encode())
        else:
            super().respond(request)

    def _tokens(self, form: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        allowed = (form.get("client_id"), form.get("client_secret")) == self.CLIENT
        allowed &= form.get("code") == f"code-{len(self.asked)}" and self.asked[-1]["code_challenge"] == challenge
        tokens = {"access_token": "unused", "id_token": self.id_token(self.CLIENT[0], self.person)}
        body = tokens if allowed else {"error": "invalid_grant"}
        return 200 if allowed else 400, {"Content-Type": "application/json"}, json.dumps(body).encode()


@pytest.fixture
def issuer(settings: Any) -> Iterator[OAuthIssuer]:
    with OAuthIssuer().running() as made:
        made.configure(settings)
        yield made
