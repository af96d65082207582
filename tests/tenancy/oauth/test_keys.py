"""The cache of the issuer's keys: rotation, outages, and limits on calls."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tenancy.access import TokenInvalid
from tenancy.oauth import keys
from tenancy.oauth.bearer import identity
from tenancy.oauth.keys import LONGEST_SECONDS, MAX_BYTES, PAUSE_SECONDS, REFRESH_SECONDS, IssuerUnavailable
from tests.authority import make_certificate
from tests.cases import cases
from tests.clock import Clock
from tests.oauth_issuer import OAuthIssuer, jwk, oauth_issuer, private_key


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def is_accepted(token: str) -> bool:
    try:
        return identity(token).subject == "ci"
    except TokenInvalid:
        return False


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(IssuerUnavailable) as caught:
        yield
    assert (caught.value.status, caught.value.code) == (503, "ISSUER_UNAVAILABLE")
    assert caught.value.detail == "The keys of the OAuth issuer cannot be fetched. Try again."


def test_keys_are_fetched_once_and_again_when_they_are_old(issuer: OAuthIssuer, clock: Clock) -> None:
    withdrawn = issuer.token()
    assert all(is_accepted(withdrawn) for _ in range(5))
    issuer.rotate()
    clock.ahead += REFRESH_SECONDS - 1
    assert is_accepted(withdrawn)
    assert issuer.requests == 1
    clock.ahead += 1
    assert not is_accepted(withdrawn)
    assert all(is_accepted(issuer.token()) for _ in range(3))
    assert issuer.requests == 2


def test_a_new_key_is_fetched_when_a_token_names_it(issuer: OAuthIssuer, clock: Clock) -> None:
    assert is_accepted(issuer.token())
    issuer.rotate("EC")
    clock.ahead += PAUSE_SECONDS
    assert is_accepted(issuer.token())
    assert issuer.requests == 2


def test_unknown_keys_do_not_make_the_coordinator_call_the_issuer(issuer: OAuthIssuer, clock: Clock) -> None:
    assert is_accepted(issuer.token())
    for count in (1, 2):
        assert not any(is_accepted(issuer.token(headers={"kid": secrets.token_hex(8)})) for _ in range(20))
        assert issuer.requests == count
        clock.ahead += PAUSE_SECONDS
    assert is_accepted(issuer.token())
    assert issuer.requests == 2


def test_an_outage_does_not_matter_while_keys_are_cached(issuer: OAuthIssuer, clock: Clock) -> None:
    assert is_accepted(issuer.token())
    issuer.is_down = True
    clock.ahead += LONGEST_SECONDS - PAUSE_SECONDS
    assert all(is_accepted(issuer.token()) for _ in range(5))
    assert not is_accepted(issuer.token(headers={"kid": "other"}))
    assert issuer.requests == 2
    clock.ahead += PAUSE_SECONDS
    for _ in range(5):
        with unavailable():
            identity(issuer.token())
    assert issuer.requests == 3
    issuer.is_down = False
    clock.ahead += PAUSE_SECONDS
    assert is_accepted(issuer.token())


@cases(
    "fault",
    [
        {"is_down": True},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"seconds": 1.0},
        {"body": b"[" * 100_000},
        {"body": b'{"keys": {}}'},
        {"body": b'{"keys": []}' + b" " * MAX_BYTES},
    ],
)
def test_without_keys_no_token_can_be_verified(
    issuer: OAuthIssuer, clock: Clock, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr(keys, "RESPONSE_SECONDS", 0.3)
    keys.cache.clear()
    issuer.requests = 0
    healthy = dict(vars(issuer))
    vars(issuer).update(fault)
    for _ in range(2):
        with unavailable():
            identity(issuer.token())
        assert issuer.requests == 1
    vars(issuer).update({name: healthy[name] for name in fault})
    clock.ahead += PAUSE_SECONDS
    assert is_accepted(issuer.token())


def test_the_certificate_of_the_issuer_is_verified_and_only_allowed_networks_are_called(
    settings: Any, tmp_path: Path, clock: Clock
) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem", "127.0.0.1")
    with oauth_issuer(certificate) as issuer:
        issuer.configure(settings)
        with unavailable():
            identity(issuer.token())
        settings.OAUTH_CA_FILE, networks = str(certificate), settings.OAUTH_ALLOWED_NETWORKS
        settings.OAUTH_ALLOWED_NETWORKS = []
        clock.ahead += PAUSE_SECONDS
        with unavailable():
            identity(issuer.token())
        assert issuer.requests == 0
        settings.OAUTH_ALLOWED_NETWORKS = networks
        clock.ahead += PAUSE_SECONDS
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
        keys.cache.clear()
        issuer.published = [7, {"kty": "RSA"}, {**jwk(key), "kid": [issuer.key_id]}, {**entry, "kid": issuer.key_id}]  # type: ignore[list-item]
        assert keys.cache.find(issuer.key_id) is None, entry
        issuer.published.append(jwk(key, kid=issuer.key_id))
        keys.cache.clear()
        assert is_accepted(issuer.token()), entry


def test_a_key_verifies_only_the_algorithm_that_it_names(issuer: OAuthIssuer) -> None:
    issuer.published = [jwk(issuer.key, kid=issuer.key_id, alg="PS256", key_ops=["verify"])]
    assert is_accepted(issuer.token(algorithm="PS256"))
    assert not is_accepted(issuer.token(algorithm="RS256"))
