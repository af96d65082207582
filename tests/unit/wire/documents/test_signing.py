"""DSSE envelopes: the published vectors, and envelopes with one change."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

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


def read(data: bytes) -> signing.Envelope:
    return signing.read_envelope(json.loads(data))


def codes(document: dict[str, Any]) -> set[str]:
    with pytest.raises(DocumentError) as caught:
        signing.read_envelope(document)
    return {finding.code for finding in caught.value.findings}


def test_the_signed_bytes_are_the_published_encoding() -> None:
    """The bytes of the signature are the ed25519 signature of the protocol's example of the encoding."""
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    made = json.loads(signing.sign(b"hello world", "http://example.com/HelloWorld", [key]))
    assert made["payload"] == "aGVsbG8gd29ybGQ="
    assert made["payloadType"] == "http://example.com/HelloWorld"
    assert [base64.b64decode(each["sig"]) for each in made["signatures"]] == [key.sign(PAE)]
    assert key.public_key() == Ed25519PublicKey.from_public_bytes(PUBLIC)


def test_a_signature_of_the_published_encoding_is_valid() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    envelope = signing.Envelope(b"hello world", "http://example.com/HelloWorld", ())
    assert envelope.is_signed_by(key.public_key(), signing.Signature("", key.sign(PAE)))
    assert not envelope.is_signed_by(key.public_key(), signing.Signature("", key.sign(b"hello world")))


@given(st.binary(min_size=1), st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_signed_payload_is_read_back_with_a_valid_signature(payload: bytes, kind: str) -> None:
    if not kind.strip():
        return
    envelope = read(signing.sign(payload, kind, [making.private_key("a"), making.private_key("b")]))
    assert (envelope.payload, envelope.payload_type) == (payload, kind)
    assert [signature.key_id for signature in envelope.signatures] == [making.key_id("a"), making.key_id("b")]
    for name, signature in zip("ab", envelope.signatures, strict=True):
        assert envelope.is_signed_by(making.private_key(name).public_key(), signature)
        assert not envelope.is_signed_by(making.private_key("c").public_key(), signature)


def _replace(member: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda envelope: envelope.update({member: value})


def _signature(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda envelope: envelope["signatures"][0].update(sig=value)


def _flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


TAMPERED: dict[str, Callable[[dict[str, Any]], None]] = {
    "another payload": _replace("payload", base64.b64encode(b'{"schemaVersion": 2}').decode()),
    "payload with a byte more": lambda e: e.update(
        payload=base64.b64encode(base64.b64decode(e["payload"]) + b" ").decode()
    ),
    "another type": _replace("payloadType", "application/vnd.in-toto+json"),
    "type in other capitals": _replace("payloadType", signing.RELEASE_TYPE.upper()),
    "a flipped bit": lambda e: e["signatures"][0].update(sig=_flip(e["signatures"][0]["sig"])),
    "a short signature": _signature(base64.b64encode(b"x" * 63).decode()),
    "zeros": _signature(base64.b64encode(bytes(64)).decode()),
    "a signature over the bare payload": _signature(
        base64.b64encode(making.private_key().sign(json.dumps(DOCUMENT).encode())).decode()
    ),
}


@cases("how", TAMPERED)
def test_an_envelope_that_was_tampered_with_is_not_signed(how: str) -> None:
    document = json.loads(making.envelope(DOCUMENT))
    TAMPERED[how](document)
    envelope = signing.read_envelope(document)
    assert not envelope.is_signed_by(making.private_key().public_key(), envelope.signatures[0])


@cases(
    ("changes", "code"),
    [
        ({"payload": None}, "ATTACHMENT_MISSING_MEMBER"),
        ({"payload": 1}, "ATTACHMENT_WRONG_TYPE"),
        ({"payload": ""}, "ATTACHMENT_BLANK_MEMBER"),
        ({"payload": "a"}, "ENVELOPE_NOT_BASE64"),
        ({"payload": "aGk=\n"}, "ENVELOPE_NOT_BASE64"),
        ({"payload": "aGk=aGk="}, "ENVELOPE_NOT_BASE64"),
        ({"payload": "é"}, "ENVELOPE_NOT_BASE64"),
        ({"payloadType": " "}, "ATTACHMENT_BLANK_MEMBER"),
        ({"signatures": []}, "ENVELOPE_SIGNATURE_COUNT"),
        ({"signatures": None}, "ENVELOPE_SIGNATURE_COUNT"),
        ({"signatures": [{"sig": "aGk="}] * 17}, "ENVELOPE_SIGNATURE_COUNT"),
        ({"signatures": {}}, "ATTACHMENT_WRONG_TYPE"),
        ({"signatures": ["aGk="]}, "ATTACHMENT_WRONG_TYPE"),
        ({"signatures": [{}]}, "ATTACHMENT_MISSING_MEMBER"),
        ({"signatures": [{"sig": "~"}]}, "ENVELOPE_NOT_BASE64"),
        ({"signatures": [{"sig": "aGk=", "keyid": 1}]}, "ATTACHMENT_WRONG_TYPE"),
    ],
)
def test_a_malformed_envelope_is_refused_with_its_code(changes: dict[str, Any], code: str) -> None:
    assert codes({**json.loads(making.envelope(DOCUMENT)), **changes}) == {code}


def test_every_form_that_dsse_allows_is_read() -> None:
    """The URL-safe alphabet, no key id, and additional members (DSSE envelope, parsing rules)."""
    payload = b"\xff\xfe\xfd?>"
    key = making.private_key()
    signature = key.sign(Envelope(payload, "t", {}).pae())
    envelope = signing.read_envelope(
        {
            "payload": base64.urlsafe_b64encode(payload).decode(),
            "payloadType": "t",
            "signatures": [{"sig": base64.urlsafe_b64encode(signature).decode(), "cert": "x"}],
            "more": {},
        }
    )
    assert envelope.payload == payload
    assert envelope.is_signed_by(key.public_key(), envelope.signatures[0])


def test_the_id_of_a_key_is_the_digest_that_openssl_prints() -> None:
    """SHA-256 of SubjectPublicKeyInfo: for ed25519 a fixed prefix (RFC 8410) and the 32 bytes of the key."""
    key = Ed25519PublicKey.from_public_bytes(PUBLIC)
    head = bytes.fromhex("302a300506032b6570032100")
    assert signing.key_id(key) == hashlib.sha256(head + PUBLIC).hexdigest()
    assert signing.read_public_key(f"\n{signing.to_pem(key)}\n") == key


def _pem(public: Any) -> str:
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@cases(
    ("pem", "told"),
    [
        ("", "not a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "not a public key"),
        ("\udcff", "not a public key"),
        ("x" * 3000, "at most"),
        (_pem(ec.generate_private_key(ec.SECP256R1()).public_key()), "Only ed25519"),
        (_pem(rsa.generate_private_key(65537, 2048).public_key()), "Only ed25519"),
        (making.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "private key"),
    ],
)
def test_text_that_is_not_an_ed25519_public_key_is_refused_without_repeating_it(pem: str, told: str) -> None:
    with pytest.raises(signing.KeyUnusable, match=told) as caught:
        signing.read_public_key(pem)
    assert not pem or pem[-40:-30] not in str(caught.value) or len(pem) < 40
