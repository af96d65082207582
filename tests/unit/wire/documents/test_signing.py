"""DSSE envelopes: the published vectors, and envelopes with one change."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests import signing as making
from tests.cases import cases
from wire.documents import signing
from wire.findings import DocumentError

DOCUMENT = {"schemaVersion": 1}
# RFC 8032, 7.1, test 1: a published ed25519 key pair.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
# DSSE protocol 1.0.2: PAE("http://example.com/HelloWorld", "hello world").
PAE = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
SIGNED: dict[str, Any] = json.loads(making.envelope(DOCUMENT))


def test_a_signature_is_the_one_over_the_published_encoding() -> None:
    """The bytes of the signature are the ed25519 signature of the protocol's example of the encoding."""
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    made = json.loads(signing.sign(b"hello world", "http://example.com/HelloWorld", [key]))
    assert (made["payload"], made["payloadType"]) == ("aGVsbG8gd29ybGQ=", "http://example.com/HelloWorld")
    assert [base64.b64decode(each["sig"]) for each in made["signatures"]] == [key.sign(PAE)]
    assert key.public_key() == Ed25519PublicKey.from_public_bytes(PUBLIC)
    envelope = signing.Envelope(b"hello world", "http://example.com/HelloWorld", ())
    assert envelope.is_signed_by(key.public_key(), signing.Signature("", key.sign(PAE)))
    assert not envelope.is_signed_by(key.public_key(), signing.Signature("", key.sign(b"hello world")))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flipped(text: str) -> bytes:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return bytes(data)


TAMPERED: dict[str, list[Any]] = {
    "payload": [encoded(b'{"schemaVersion": 2}'), encoded(base64.b64decode(SIGNED["payload"]) + b" ")],
    "payloadType": ["application/vnd.in-toto+json", signing.RELEASE_TYPE.upper()],
    "signatures": [
        [{**SIGNED["signatures"][0], "sig": encoded(signature)}]
        for signature in (
            *(flipped(SIGNED["signatures"][0]["sig"]), b"x" * 63, bytes(64)),
            making.private_key().sign(json.dumps(DOCUMENT).encode()),  # over the bare payload
        )
    ],
}


@cases(("member", "value"), [(member, value) for member, values in TAMPERED.items() for value in values])
def test_an_envelope_that_was_tampered_with_is_not_signed(member: str, value: Any) -> None:
    envelope = signing.read_envelope({**SIGNED, member: value})
    assert not envelope.is_signed_by(making.private_key().public_key(), envelope.signatures[0])


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
    with pytest.raises(DocumentError) as caught:
        signing.read_envelope({**SIGNED, member: value})
    assert {finding.code for finding in caught.value.findings} == {code}


def test_the_id_of_a_key_is_the_digest_that_openssl_prints() -> None:
    """SHA-256 of SubjectPublicKeyInfo: for ed25519 a fixed prefix (RFC 8410) and the 32 bytes of the key."""
    key = Ed25519PublicKey.from_public_bytes(PUBLIC)
    head = bytes.fromhex("302a300506032b6570032100")
    assert signing.key_id(key) == hashlib.sha256(head + PUBLIC).hexdigest()
    assert signing.read_public_key(f"\n{signing.to_pem(key)}\n") == key


def _pem(public: Any) -> str:
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@cases(
    ("pem", "message"),
    [
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a public key"),
        ("x" * 3000, "at most"),
        (_pem(rsa.generate_private_key(65537, 2048).public_key()), "Only ed25519"),
        (making.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "private key"),
    ],
)
def test_text_that_is_not_an_ed25519_public_key_is_refused_without_repeating_it(pem: str, message: str) -> None:
    with pytest.raises(signing.KeyUnusable, match=message) as caught:
        signing.read_public_key(pem)
    assert not pem or pem[-40:-30] not in str(caught.value) or len(pem) < 40
