import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tenancy import oauth
from tenancy.access import TokenInvalid
from tenancy.roles import Scope
from tests.authority import make_certificate
from tests.cases import cases
from tests.clock import Clock
from tests.oauth_issuer import OAuthIssuer, jwk, private_key

LONGEST_SUBJECT = oauth.LONGEST_ACTOR - len("oauth:")


def refusal(token: str) -> str:
    """Return the detail of the error, which shows no part of the token."""
    with pytest.raises(TokenInvalid) as caught:
        oauth.identity(token)
    assert (caught.value.status, caught.value.code) == (401, "NOT_AUTHENTICATED")
    assert not any(part in caught.value.detail for part in token.split(".") if len(part) > 8)
    assert caught.value.__cause__ is None
    return caught.value.detail


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def claims_of(token: str) -> dict[str, Any]:
    text = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return claims


ALGORITHMS = {
    **{f"{name}{bits}": private_key("RSA") for name in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": private_key("EC"),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": private_key("Ed25519"),
}


@cases("algorithm", ALGORITHMS)
def test_a_token_with_an_asymmetric_algorithm_identifies_its_holder(issuer: OAuthIssuer, algorithm: str) -> None:
    oauth.cache.clear()
    issuer.key = ALGORITHMS[algorithm]
    issuer.published = [jwk(issuer.key, kid=issuer.key_id)]
    token = issuer.token(algorithm=algorithm, subject="ci@acme", organizations=["acme", "beta"], scopes=["read", "x"])
    identity = oauth.identity(token)
    assert identity == oauth.OAuthIdentity("ci@acme", frozenset({"acme", "beta"}), frozenset({Scope.READ}))
    assert identity.actor == "oauth:ci@acme"
    header, _claims, signature = token.split(".")
    other = part({**claims_of(token), "scope": "tenant:administer"})
    assert refusal(f"{header}.{other}.{signature}") == "The signature of the token is not valid."


@cases(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example/"}, "The token is from another issuer."),
        ({"audience": "https://other.example"}, "The token is for another audience."),
        ({"aud": None}, "The token has no claim 'aud'."),
        ({"exp": None}, "The token has no claim 'exp'."),
        ({"sub": None}, "The token has no claim 'sub'."),
        ({"expires_in": -oauth.LEEWAY_SECONDS - 1}, "The token has expired."),
        ({"exp": float("inf")}, "The token is malformed."),
        ({"headers": {"typ": "logout+jwt"}}, "The token is not an access token."),
        ({"headers": {"kid": None}}, "The token does not name its key."),
        ({"headers": {"kid": "other"}}, "The issuer has no key with the id that the token names."),
        ({"key": private_key("RSA", 77)}, "The signature of the token is not valid."),
        ({"key": private_key("EC"), "algorithm": "ES256"}, "The key of the token is not for its algorithm."),
        ({"key": "s" * 64, "algorithm": "HS256"}, "The algorithm of the token is not allowed."),
        ({"organization": ["acme", 7]}, "The claim 'organization' must be a text or an array of texts."),
        ({"scope": {"read": True}}, "The claim 'scope' must be a text or an array of texts."),
    ],
)
def test_the_refusal_names_the_rule(issuer: OAuthIssuer, changes: dict[str, Any], reason: str) -> None:
    assert refusal(issuer.token(**changes)).startswith(reason)


def test_tokens_that_no_key_could_make_valid_do_not_reach_the_issuer(issuer: OAuthIssuer) -> None:
    oauth.cache.clear()
    refusal(issuer.token(iss="https://other.example/"))
    for headers in ({"typ": "logout+jwt"}, {"kid": None}):
        refusal(issuer.token(headers=headers))
    assert issuer.requests == 0


def test_a_token_is_valid_in_its_time_and_clocks_may_differ_a_little(issuer: OAuthIssuer) -> None:
    now = claims_of(issuer.token())["iat"]
    for claim in ("nbf", "iat"):
        assert refusal(issuer.token(**{claim: now + oauth.LEEWAY_SECONDS + 5})) == "The token is not valid yet."
        assert oauth.identity(issuer.token(**{claim: now + oauth.LEEWAY_SECONDS - 5})).subject == "ci"
    assert oauth.identity(issuer.token(expires_in=-oauth.LEEWAY_SECONDS + 5, headers={"typ": "JWT"})).subject == "ci"


@cases("subject", ["", "a\nb", "a\u202eb", "x" * (LONGEST_SUBJECT + 1), 7])
def test_a_subject_is_a_printable_identifier(issuer: OAuthIssuer, subject: Any) -> None:
    assert refusal(issuer.token(sub=subject)).startswith("The claim 'sub' must be a printable identifier")
    assert len(oauth.identity(issuer.token(subject="é" * LONGEST_SUBJECT)).actor) == oauth.LONGEST_ACTOR


@cases("token", ["", "a.b", "a.b.c", "dc_0123", "a.b.c.d", "é.b.c", "e30.e30.e30"])
def test_other_text_is_no_jwt(issuer: OAuthIssuer, token: str) -> None:
    assert refusal(token) in {"The token is not a JWT.", "The algorithm of the token is not allowed."}
    assert issuer.requests == 0


def test_the_length_is_checked_first(issuer: OAuthIssuer) -> None:
    token = issuer.token(padding="x" * oauth.MAX_CHARACTERS)
    assert refusal(token) == f"The token has more than {oauth.MAX_CHARACTERS} characters."
    fitting = oauth.MAX_CHARACTERS - len(issuer.token(padding=""))
    assert oauth.identity(issuer.token(padding="x" * (fitting * 3 // 4 - 2))).subject == "ci"
    assert issuer.requests == 1


@cases("name", ["none", "nOnE", ["RS256"], None])
def test_unsigned_tokens_are_refused(issuer: OAuthIssuer, name: object) -> None:
    claims = claims_of(issuer.token())
    token = f"{part({'alg': name, 'kid': issuer.key_id})}.{part(claims)}."
    assert oauth.looks_like_jwt(token)
    assert refusal(token) == "The algorithm of the token is not allowed."
    header = {"alg": "RS256", "kid": issuer.key_id}
    assert refusal(f"{part(header)}.{part(claims)}.") == "The signature of the token is not valid."


def test_a_public_key_is_no_secret_of_an_hmac(issuer: OAuthIssuer) -> None:
    """PyJWT refuses to sign such a token, so the test computes the HMAC."""
    assert isinstance(issuer.key, RSAPrivateKey)
    secret = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'kid': issuer.key_id})}.{part(claims_of(issuer.token()))}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    assert refusal(f"{signed}.{part(signature)}") == "The algorithm of the token is not allowed."


def test_a_key_inside_of_the_token_is_ignored(issuer: OAuthIssuer) -> None:
    enclosed = private_key("RSA", 78)
    headers = {"jwk": jwk(enclosed, kid="own"), "jku": f"{issuer.origin}/own", "kid": "own"}
    assert refusal(issuer.token(key=enclosed, headers=headers)).startswith("The issuer has no key")
    headers["kid"] = issuer.key_id
    assert refusal(issuer.token(key=enclosed, headers=headers)) == "The signature of the token is not valid."


@cases(
    ("claims", "scopes"),
    [
        ({"scope": "releases:register tpf:deploy"}, {Scope.REGISTER, Scope.ACTIVATE, Scope.READ}),
        ({"scope": ["tpf:see", "read"]}, {Scope.READ}),
        ({"scope": None, "scp": ["tpf:see", "executions:submit"]}, {Scope.READ, Scope.SUBMIT}),
        ({"scope": "", "scp": ["tenant:administer"]}, set()),
        ({"scope": "TPF:DEPLOY tpf releases: REGISTER"}, set()),
    ],
)
def test_scopes(issuer: OAuthIssuer, settings: Any, claims: dict[str, Any], scopes: set[Scope]) -> None:
    settings.OAUTH_SCOPES = {"tpf:deploy": ["releases:activate", "read"], "tpf:see": ["read"]}
    assert oauth.identity(issuer.token(**claims)).scopes == scopes


def test_without_an_issuer_no_token_is_accepted(issuer: OAuthIssuer, settings: Any) -> None:
    assert oauth.is_enabled()
    settings.OAUTH_ISSUER = ""
    assert not oauth.is_enabled()
    assert refusal(issuer.token()) == "This coordinator accepts no OAuth tokens."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def is_accepted(token: str) -> bool:
    try:
        return oauth.identity(token).subject == "ci"
    except TokenInvalid:
        return False


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(oauth.IssuerUnavailable) as caught:
        yield
    assert (caught.value.status, caught.value.code) == (503, "ISSUER_UNAVAILABLE")
    assert caught.value.detail == "The keys of the OAuth issuer cannot be fetched. Try again."


def test_keys_are_fetched_once_and_again_when_they_are_old(issuer: OAuthIssuer, clock: Clock) -> None:
    withdrawn = issuer.token()
    assert all(is_accepted(withdrawn) for _ in range(5))
    issuer.rotate()
    clock.ahead += oauth.REFRESH_SECONDS - 1
    assert is_accepted(withdrawn)
    assert issuer.requests == 1
    clock.ahead += 1
    assert not is_accepted(withdrawn)
    assert all(is_accepted(issuer.token()) for _ in range(3))
    assert issuer.requests == 2


def test_unknown_keys_do_not_make_the_coordinator_call_the_issuer(issuer: OAuthIssuer, clock: Clock) -> None:
    assert is_accepted(issuer.token())
    for count in (1, 2):
        assert not any(is_accepted(issuer.token(headers={"kid": secrets.token_hex(8)})) for _ in range(20))
        assert issuer.requests == count
        clock.ahead += oauth.PAUSE_SECONDS
    assert is_accepted(issuer.token())
    assert issuer.requests == 2
    issuer.rotate("EC")
    assert is_accepted(issuer.token()), "a token names the new key"
    assert issuer.requests == 3


def test_an_outage_does_not_matter_while_keys_are_cached(issuer: OAuthIssuer, clock: Clock) -> None:
    assert is_accepted(issuer.token())
    issuer.is_down = True
    clock.ahead += oauth.LONGEST_SECONDS - oauth.PAUSE_SECONDS
    assert all(is_accepted(issuer.token()) for _ in range(5))
    assert not is_accepted(issuer.token(headers={"kid": "other"}))
    assert issuer.requests == 2
    clock.ahead += oauth.PAUSE_SECONDS
    for _ in range(5):
        with unavailable():
            oauth.identity(issuer.token())
    assert issuer.requests == 3
    issuer.is_down = False
    clock.ahead += oauth.PAUSE_SECONDS
    assert is_accepted(issuer.token())


@cases(
    "fault",
    [
        {"is_down": True},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"seconds": 1.0},
        {"body": b"[" * 100_000},
        {"body": b'{"keys": {}}'},
        {"body": b'{"keys": []}' + b" " * oauth.MAX_BYTES},
    ],
)
def test_without_keys_no_token_can_be_verified(
    issuer: OAuthIssuer, clock: Clock, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr(oauth, "RESPONSE_SECONDS", 0.3)
    oauth.cache.clear()
    issuer.requests = 0
    healthy = dict(vars(issuer))
    vars(issuer).update(fault)
    for _ in range(2):
        with unavailable():
            oauth.identity(issuer.token())
        assert issuer.requests == 1
    vars(issuer).update({name: healthy[name] for name in fault})
    clock.ahead += oauth.PAUSE_SECONDS
    assert is_accepted(issuer.token())


def test_only_a_verified_issuer_in_an_allowed_network_is_called(settings: Any, tmp_path: Path, clock: Clock) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem", "127.0.0.1")
    with OAuthIssuer(certificate).running() as issuer:
        issuer.configure(settings)
        with unavailable():
            oauth.identity(issuer.token())
        settings.OAUTH_CA_FILE, networks = str(certificate), settings.OAUTH_ALLOWED_NETWORKS
        settings.OAUTH_ALLOWED_NETWORKS = []
        clock.ahead += oauth.PAUSE_SECONDS
        with unavailable():
            oauth.identity(issuer.token())
        assert issuer.requests == 0
        settings.OAUTH_ALLOWED_NETWORKS = networks
        clock.ahead += oauth.PAUSE_SECONDS
        assert is_accepted(issuer.token())
        assert issuer.requests == 1


def test_keys_that_do_not_verify_signatures_are_ignored(issuer: OAuthIssuer) -> None:
    key = issuer.key
    for entry in (
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "alg": "HS256"},
        jwk(key, use="enc"),
        jwk(key, key_ops=["encrypt"]),
        jwk(key, alg="HS256"),
        jwk(key, kty="EC"),
        jwk(key, n=7),
        jwk(private_key("RSA", bits=1024)),
        {**jwk(private_key("EC")), "crv": "secp256k1"},
        {**jwk(private_key("Ed25519")), "d": jwk(private_key("Ed25519"))["x"]},
    ):
        oauth.cache.clear()
        issuer.published = [7, {"kty": "RSA"}, {**jwk(key), "kid": [issuer.key_id]}, {**entry, "kid": issuer.key_id}]  # type: ignore[list-item]
        assert oauth.cache.find(issuer.key_id) is None, entry
        issuer.published.append(jwk(key, kid=issuer.key_id))
        oauth.cache.clear()
        assert is_accepted(issuer.token()), entry


def test_a_key_verifies_only_the_algorithm_that_it_names(issuer: OAuthIssuer) -> None:
    issuer.published = [jwk(issuer.key, kid=issuer.key_id, alg="PS256", key_ops=["verify"])]
    assert is_accepted(issuer.token(algorithm="PS256"))
    assert not is_accepted(issuer.token(algorithm="RS256"))
