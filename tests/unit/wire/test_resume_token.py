"""Resume tokens: the vector of the protocol, and tokens with one fault."""

import base64
import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.cases import cases
from wire.resume_token import ResumeToken, ResumeTokenError, key_id, read

SECRET = "resume-secret"
RECORD = ResumeToken("tenant-1", "int-1", "corr-1", "exec-1", "AwaitDecision", 2000000000000, 1767323045678)
VECTOR = (
    "eyJ0ZW5hbnRJZCI6InRlbmFudC0xIiwiaW50ZXJhY3Rpb25JZCI6ImludC0xIiwiY29ycmVsYXRpb25JZCI6ImNvcnItMSIsImV4ZWN1dGlvbklk"
    "IjoiZXhlYy0xIiwic3RlcElkIjoiQXdhaXREZWNpc2lvbiIsImRlYWRsaW5lRXBvY2hNcyI6MjAwMDAwMDAwMDAwMCwiaXNzdWVkQXRFcG9jaE1z"
    "IjoxNzY3MzIzMDQ1Njc4fQ.0LXHogzUbwWJMndq5i1q6jCoCdE5bTNhPlS1_3KcY2A"
)

MEMBERS = json.loads(base64.urlsafe_b64decode(VECTOR.partition(".")[0] + "=="))
SIGNED = RECORD.sign(SECRET)
OTHER = {"tenant_id": "t", "interaction_id": "i", "correlation_id": "c", "execution_id": "e", "step_id": "s"}


def signed(payload: bytes, secret: str = SECRET) -> str:
    text = base64.urlsafe_b64encode(payload).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).rstrip(b"=")
    return f"{text.decode()}.{signature.decode()}"


def refused(token: str, secret: str = SECRET) -> str:
    with pytest.raises(ResumeTokenError) as caught:
        read(token, [secret])
    return caught.value.code


@cases("token", [VECTOR, SIGNED])
def test_a_token_is_accepted_as_long_as_its_key_is(token: str) -> None:
    """A token of the protocol has no key id. It is accepted if any of the secrets signed it."""
    for secrets in ([SECRET], ["newer", SECRET], [SECRET, "older"]):
        assert read(token, secrets) == RECORD
    assert refused(token, "newer") == "SIGNATURE"


def test_a_token_names_its_key_after_the_members_of_the_protocol() -> None:
    payload = json.loads(base64.urlsafe_b64decode(SIGNED.partition(".")[0] + "=="))
    assert list(payload) == [*MEMBERS, "keyId"]
    assert payload == {**MEMBERS, "keyId": key_id(SECRET)}
    assert len({key_id(SECRET), key_id("other"), SECRET[:8]}) == 3
    forged = signed(json.dumps({**MEMBERS, "keyId": key_id("newer")}).encode())
    with pytest.raises(ResumeTokenError) as caught:
        read(forged, ["newer", SECRET])
    assert caught.value.code == "SIGNATURE"


@cases("token", ["", "a.", ".b", VECTOR + ".x", "é.é", "a" * 5000 + ".b"])
def test_a_token_without_exactly_two_parts_is_malformed(token: str) -> None:
    assert refused(token) == "MALFORMED"


def test_another_secret_or_another_byte_breaks_the_signature() -> None:
    payload, _, signature = VECTOR.partition(".")
    assert refused(VECTOR, "another-secret") == "SIGNATURE"
    assert refused(f"{payload[:-1]}R.{signature}") == "SIGNATURE"
    assert refused(f"{payload}.{signature[:-1]}") == "SIGNATURE"
    assert refused(f"{payload}.{signature}=") == "SIGNATURE"


@cases(
    "payload",
    [
        *(b"no json", b"\xff", b"[]"),
        *(json.dumps({**MEMBERS, **wrong}).encode() for wrong in ({"stepId": None}, {"deadlineEpochMs": True})),
        json.dumps({name: value for name, value in MEMBERS.items() if name != "executionId"}).encode(),
    ],
)
def test_signed_text_that_is_not_a_token_is_malformed(payload: bytes) -> None:
    assert refused(signed(payload)) == "MALFORMED"


@cases(("member", "value"), [*OTHER.items(), ("deadline_epoch_ms", 2000000000001)])
def test_a_token_for_another_interaction_is_refused(member: str, value: Any) -> None:
    with pytest.raises(ResumeTokenError) as caught:
        RECORD.require(dataclasses.replace(RECORD, **{member: value}), now_epoch_ms=0)
    assert caught.value.code == "MISMATCH"


def test_a_token_lasts_until_its_deadline_whenever_it_was_issued() -> None:
    RECORD.require(dataclasses.replace(RECORD, issued_at_epoch_ms=0), now_epoch_ms=2000000000000)
    with pytest.raises(ResumeTokenError) as caught:
        RECORD.require(RECORD, now_epoch_ms=2000000000001)
    assert caught.value.code == "EXPIRED"
