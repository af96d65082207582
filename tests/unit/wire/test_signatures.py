import base64
import dataclasses
import hashlib
import hmac
import json
from base64 import b64decode
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests import signing as making
from tests.cases import cases
from tests.raising import error_of
from wire.documents import signing
from wire.findings import DocumentError
from wire.resume_token import ResumeToken, ResumeTokenError, key_id, read
from wire.worker_keys import MalformedKey, Undecryptable, parse_key, worker_key

DOCUMENT = {"schemaVersion": 1}
# RFC 8032, 7.1, test 1: a published ed25519 key pair.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
# DSSE protocol 1.0.2: PAE("http://example.com/HelloWorld", "hello world").
PAE = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
SIGNED: dict[str, Any] = json.loads(making.envelope(DOCUMENT))
WORKER_SECRET = "a secret of the coordinator, long enough"
WORKER_KEY = worker_key(WORKER_SECRET, "acme")
MESSAGE_NONCE, HEADER = "0f" * 16, b"a header"
RESUME_SECRET = "resume-secret"
RECORD = ResumeToken("tenant-1", "int-1", "corr-1", "exec-1", "AwaitDecision", 2000000000000, 1767323045678)
SIGNED_TOKEN = RECORD.sign(RESUME_SECRET)


def test_a_signature_is_the_one_over_the_published_encoding() -> None:
    """The bytes of the signature are the ed25519 signature of the protocol's example of the encoding."""
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    made = json.loads(signing.sign(b"hello world", "http://example.com/HelloWorld", [key]))
    assert (made["payload"], made["payloadType"]) == ("aGVsbG8gd29ybGQ=", "http://example.com/HelloWorld")
    assert [base64.b64decode(signature["sig"]) for signature in made["signatures"]] == [key.sign(PAE)]
    assert key.public_key() == Ed25519PublicKey.from_public_bytes(PUBLIC)
    signatures = [{"sig": encoded(key.sign(signed))} for signed in (PAE, b"hello world")]
    envelope = signing.read_envelope({**made, "signatures": signatures})
    assert [envelope.is_signed_by(key.public_key(), signature) for signature in envelope.signatures] == [True, False]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


MALFORMED: list[tuple[str, str, list[Any]]] = [
    ("payload", "ATTACHMENT_MISSING_MEMBER", [None]),
    ("payload", "ATTACHMENT_WRONG_TYPE", [1]),
    ("payload", "ATTACHMENT_BLANK_MEMBER", [""]),
    ("payload", "ENVELOPE_NOT_BASE64", ["a", "aGk=\n", "aGk=aGk=", "é"]),
    ("payloadType", "ATTACHMENT_BLANK_MEMBER", [" "]),
    ("signatures", "ENVELOPE_SIGNATURE_COUNT", [[], None, [{"sig": "aGk="}] * 17]),
    ("signatures", "ATTACHMENT_WRONG_TYPE", [{}, ["aGk="], [{"sig": "aGk=", "keyid": 1}]]),
    ("signatures", "ATTACHMENT_MISSING_MEMBER", [[{}]]),
    ("signatures", "ENVELOPE_NOT_BASE64", [[{"sig": "~"}]]),
]


@cases(("member", "code", "value"), [(*row[:2], value) for row in MALFORMED for value in row[2]])
def test_a_malformed_envelope_is_refused_with_its_code(member: str, code: str, value: Any) -> None:
    refused = error_of(DocumentError, signing.read_envelope, {**SIGNED, member: value})
    assert {finding.code for finding in refused.findings} == {code}


def test_the_id_of_a_key_is_the_digest_that_openssl_prints() -> None:
    """SHA-256 of SubjectPublicKeyInfo: for ed25519 a fixed prefix (RFC 8410) and the 32 bytes of the key."""
    key = Ed25519PublicKey.from_public_bytes(PUBLIC)
    head = bytes.fromhex("302a300506032b6570032100")
    assert signing.key_id(key) == hashlib.sha256(head + PUBLIC).hexdigest()
    assert signing.read_public_key(f"\n{signing.to_pem(key)}\n") == key


OF_RSA = rsa.generate_private_key(65537, 2048).public_key()


@cases(
    ("pem", "message"),
    [
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a public key"),
        ("x" * 3000, "at most"),
        (OF_RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "Only ed25519"),
        (making.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "private key"),
    ],
)
def test_text_that_is_not_an_ed25519_public_key_is_refused_without_repeating_it(pem: str, message: str) -> None:
    says = str(error_of(signing.KeyUnusable, signing.read_public_key, pem))
    assert message in says
    assert pem[-40:-30] not in says


@given(st.text(), st.text(), st.integers(1, 9), st.integers(1, 9))
def test_every_tenant_and_generation_has_a_different_key(tenant: str, other: str, first: int, second: int) -> None:
    equal = (tenant, first) == (other, second)
    assert (worker_key(WORKER_SECRET, tenant, first) == worker_key(WORKER_SECRET, other, second)) is equal
    assert (worker_key(WORKER_SECRET, tenant, first).key_id == worker_key(WORKER_SECRET, other, second).key_id) is equal


def test_keys_are_derived_as_rfc_5869_says() -> None:
    info = json.dumps(["worker-key", "acme", 1]).encode()
    secret = HKDF(hashes.SHA256(), 32, b"durable-coordinator", info).derive(WORKER_SECRET.encode())
    assert WORKER_KEY.text.endswith("." + secret.hex())
    assert WORKER_KEY.signing == HKDFExpand(hashes.SHA256(), 32, b"signing").derive(secret)
    assert WORKER_KEY.encryption == HKDFExpand(hashes.SHA256(), 32, b"encryption").derive(secret)


def test_each_text_is_encrypted_with_aes_256_gcm_and_a_separate_key() -> None:
    once = HKDFExpand(hashes.SHA256(), 32, b"message:" + MESSAGE_NONCE.encode()).derive(WORKER_KEY.encryption)
    encrypted = b64decode(WORKER_KEY.encrypt("text é", nonce=MESSAGE_NONCE, header=HEADER))
    assert AESGCM(once).decrypt(bytes(12), encrypted, HEADER).decode() == "text é"


def test_decryption_needs_the_same_key_nonce_and_header() -> None:
    text = WORKER_KEY.encrypt("secret", nonce=MESSAGE_NONCE, header=HEADER)
    assert WORKER_KEY.decrypt(text, nonce=MESSAGE_NONCE, header=HEADER) == b"secret"
    for key, nonce, header, ciphertext in (
        (worker_key(WORKER_SECRET, "other"), MESSAGE_NONCE, HEADER, text),
        (worker_key(WORKER_SECRET, "acme", 2), MESSAGE_NONCE, HEADER, text),
        (WORKER_KEY, MESSAGE_NONCE[:-1] + "0", HEADER, text),
        (WORKER_KEY, MESSAGE_NONCE, HEADER + b" ", text),
        (WORKER_KEY, MESSAGE_NONCE, HEADER, text[:-4]),
        (WORKER_KEY, MESSAGE_NONCE, HEADER, "AAAA" + text[4:]),
        (WORKER_KEY, MESSAGE_NONCE, HEADER, "é" + text),
    ):
        error_of(Undecryptable, key.decrypt, ciphertext, nonce=nonce, header=header)


@cases("generation", [1, 2, 999_999_999])
def test_a_key_is_parsed_from_its_text(generation: int) -> None:
    key = worker_key(WORKER_SECRET, "acme", generation)
    assert parse_key(key.text) == key
    assert key.key_id.startswith(f"{generation}-")
    assert repr(key) == f"WorkerKey(key_id='{key.key_id}')", "no secret"


@cases(
    "text",
    [
        "",
        WORKER_KEY.text[:-1],
        WORKER_KEY.text + "\n",
        WORKER_KEY.text.upper(),
        WORKER_KEY.key_id + "." + worker_key(WORKER_SECRET, "other").text.partition(".")[2],
        WORKER_KEY.text[:-1] + ("0" if WORKER_KEY.text[-1] != "0" else "1"),
        "0" + WORKER_KEY.text[1:],
    ],
)
def test_a_truncated_or_mistyped_key_is_refused(text: str) -> None:
    error_of(MalformedKey, parse_key, text)


VECTOR = (
    "eyJ0ZW5hbnRJZCI6InRlbmFudC0xIiwiaW50ZXJhY3Rpb25JZCI6ImludC0xIiwiY29ycmVsYXRpb25JZCI6ImNvcnItMSIsImV4ZWN1dGlvbklk"
    "IjoiZXhlYy0xIiwic3RlcElkIjoiQXdhaXREZWNpc2lvbiIsImRlYWRsaW5lRXBvY2hNcyI6MjAwMDAwMDAwMDAwMCwiaXNzdWVkQXRFcG9jaE1z"
    "IjoxNzY3MzIzMDQ1Njc4fQ.0LXHogzUbwWJMndq5i1q6jCoCdE5bTNhPlS1_3KcY2A"
)

MEMBERS = json.loads(base64.urlsafe_b64decode(VECTOR.partition(".")[0] + "=="))


def signed(payload: bytes, secret: str = RESUME_SECRET) -> str:
    text = base64.urlsafe_b64encode(payload).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).rstrip(b"=")
    return f"{text.decode()}.{signature.decode()}"


def refused(token: str, *secrets: str) -> str:
    return error_of(ResumeTokenError, read, token, secrets or [RESUME_SECRET]).code


@cases("token", [VECTOR, SIGNED_TOKEN])
def test_a_token_is_accepted_as_long_as_its_key_is(token: str) -> None:
    """A token of the protocol has no key id. It is accepted if any of the secrets signed it."""
    for secrets in ([RESUME_SECRET], ["newer", RESUME_SECRET], [RESUME_SECRET, "older"]):
        assert read(token, secrets) == RECORD
    assert refused(token, "newer") == "SIGNATURE"


def test_a_token_names_its_key_after_the_members_of_the_protocol() -> None:
    payload = json.loads(base64.urlsafe_b64decode(SIGNED_TOKEN.partition(".")[0] + "=="))
    assert list(payload) == [*MEMBERS, "keyId"]
    assert payload == {**MEMBERS, "keyId": key_id(RESUME_SECRET)}
    assert len({key_id(RESUME_SECRET), key_id("other"), RESUME_SECRET[:8]}) == 3
    forged = signed(json.dumps({**MEMBERS, "keyId": key_id("newer")}).encode())
    assert refused(forged, "newer", RESUME_SECRET) == "SIGNATURE"


def test_another_secret_or_another_byte_breaks_the_signature() -> None:
    payload, _, signature = VECTOR.partition(".")
    assert refused(VECTOR, "another-secret") == "SIGNATURE"
    assert refused(f"{payload[:-1]}R.{signature}") == "SIGNATURE"
    assert refused(f"{payload}.{signature[:-1]}") == "SIGNATURE"
    assert refused(f"{payload}.{signature}=") == "SIGNATURE"


PAYLOADS = [
    b"no json",
    b"\xff",
    b"[]",
    *(json.dumps({**MEMBERS, **wrong}).encode() for wrong in ({"stepId": None}, {"deadlineEpochMs": True})),
    json.dumps({name: value for name, value in MEMBERS.items() if name != "executionId"}).encode(),
]


@cases("token", ["", "a.", ".b", VECTOR + ".x", "é.é", "a" * 5000 + ".b", *map(signed, PAYLOADS)])
def test_text_without_two_parts_and_signed_text_of_another_form_are_malformed(token: str) -> None:
    assert refused(token) == "MALFORMED"


def test_a_token_lasts_until_its_deadline_whenever_it_was_issued() -> None:
    RECORD.require(dataclasses.replace(RECORD, issued_at_epoch_ms=0), now_epoch_ms=2000000000000)
    assert error_of(ResumeTokenError, RECORD.require, RECORD, now_epoch_ms=2000000000001).code == "EXPIRED"
