"""Worker keys are derived from a secret, printed as a text with an id, and used to sign and encrypt."""

import json
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import cases
from wire.worker_keys import MalformedKey, Undecryptable, parse_key, worker_key

SECRET = "a secret of the coordinator, long enough"
KEY = worker_key(SECRET, "acme")
NONCE, HEADER = "0f" * 16, b"a header"


@given(st.text(), st.text(), st.integers(1, 9), st.integers(1, 9))
def test_every_tenant_and_generation_has_a_different_key(one: str, other: str, first: int, second: int) -> None:
    equal = (one, first) == (other, second)
    assert (worker_key(SECRET, one, first) == worker_key(SECRET, other, second)) is equal
    assert (worker_key(SECRET, one, first).key_id == worker_key(SECRET, other, second).key_id) is equal


def test_keys_are_derived_as_rfc_5869_says() -> None:
    info = json.dumps(["worker-key", "acme", 1]).encode()
    secret = HKDF(hashes.SHA256(), 32, b"durable-coordinator", info).derive(SECRET.encode())
    assert KEY.text.endswith("." + secret.hex())
    assert KEY.signing == HKDFExpand(hashes.SHA256(), 32, b"signing").derive(secret)
    assert KEY.encryption == HKDFExpand(hashes.SHA256(), 32, b"encryption").derive(secret)


def test_each_text_is_encrypted_with_aes_256_gcm_and_a_separate_key() -> None:
    once = HKDFExpand(hashes.SHA256(), 32, b"message:" + NONCE.encode()).derive(KEY.encryption)
    encrypted = b64decode(KEY.encrypt("text é", nonce=NONCE, header=HEADER))
    assert AESGCM(once).decrypt(bytes(12), encrypted, HEADER).decode() == "text é"


def test_decryption_needs_the_same_key_nonce_and_header() -> None:
    text = KEY.encrypt("secret", nonce=NONCE, header=HEADER)
    assert KEY.decrypt(text, nonce=NONCE, header=HEADER) == b"secret"
    for key, nonce, header, of in (
        (worker_key(SECRET, "other"), NONCE, HEADER, text),
        (worker_key(SECRET, "acme", 2), NONCE, HEADER, text),
        (KEY, NONCE[:-1] + "0", HEADER, text),
        (KEY, NONCE, HEADER + b" ", text),
        (KEY, NONCE, HEADER, text[:-4]),
        (KEY, NONCE, HEADER, "AAAA" + text[4:]),
        (KEY, NONCE, HEADER, "é" + text),
    ):
        with pytest.raises(Undecryptable):
            key.decrypt(of, nonce=nonce, header=header)


def test_the_repr_of_a_key_shows_its_id_and_no_secret() -> None:
    assert repr(KEY) == f"WorkerKey(key_id='{KEY.key_id}')"


@cases("generation", [1, 2, 999_999_999])
def test_a_key_is_parsed_from_its_text(generation: int) -> None:
    key = worker_key(SECRET, "acme", generation)
    assert parse_key(key.text) == key
    assert key.key_id.startswith(f"{generation}-")


@cases(
    "text",
    [
        *("", KEY.text[:-1], KEY.text + "\n", KEY.text.upper()),
        KEY.key_id + "." + worker_key(SECRET, "other").text.partition(".")[2],
        KEY.text[:-1] + ("0" if KEY.text[-1] != "0" else "1"),
        "0" + KEY.text[1:],
    ],
)
def test_a_truncated_or_mistyped_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedKey):
        parse_key(text)
