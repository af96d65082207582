"""Signatures over a release descriptor: DSSE envelopes (protocol 1.0.2) with ed25519 keys. Pure.

An envelope contains the signed bytes, so exactly the verified bytes are read. Its key ids are unverified hints: only
the keys decide whether a signature is valid.

The functions that need securesystemslib import it, because it imports boto3 and azure.core if they are installed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from wire.documents.descriptor import ENVELOPE_NAME, Descriptor, parse_descriptor
from wire.documents.json_reader import Dialect
from wire.documents.shape import ArrayOrNull, OpenDocument, RequiredText, TextOrEmpty, required_text, shaped
from wire.findings import DocumentError, Finding

PrivateKey = Ed25519PrivateKey
PublicKey = Ed25519PublicKey
RELEASE_TYPE = "application/vnd.durable-coordinator.release+json"
"""The payload type of an envelope over the bytes of `pipeline-release.json`."""
MAX_SIGNATURES = 16
"""How many signatures an envelope may have."""
MAX_KEY_CHARACTERS = 2000
"""How long a public key in PEM format may be."""

_DIALECT = Dialect(
    name=ENVELOPE_NAME,
    code="ATTACHMENT",
    preamble="Not a usable envelope: ",
    verbatim=frozenset({"ENVELOPE_NOT_BASE64", "ENVELOPE_SIGNATURE_COUNT"}),
)


class KeyUnusable(ValueError):
    """The text is not an ed25519 key. The message says why, and contains no part of the text."""


def read_public_key(pem: str) -> Ed25519PublicKey:
    """Return the ed25519 key of a SubjectPublicKeyInfo in PEM format. Raises `KeyUnusable`."""
    if "PRIVATE KEY" in pem:
        raise KeyUnusable("This is a private key: provide the public one, and treat the private one as leaked.")
    if len(pem) > MAX_KEY_CHARACTERS:
        raise KeyUnusable(f"A public key has at most {MAX_KEY_CHARACTERS} characters.")
    try:
        key = load_pem_public_key(pem.strip().encode())
    except Exception:  # the library raises several classes
        raise KeyUnusable("This is not a public key in PEM format (BEGIN PUBLIC KEY).") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable("Only ed25519 keys are supported.")
    return key


def read_private_key(pem: str) -> Ed25519PrivateKey:
    """Return the ed25519 key of an unencrypted PKCS#8 document in PEM format. Raises `KeyUnusable`."""
    try:
        key = load_pem_private_key(pem.strip().encode(), None)
    except Exception:  # the library raises several classes
        raise KeyUnusable("This is not an unencrypted private key in PEM format (BEGIN PRIVATE KEY).") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable("Only ed25519 keys are supported.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """Return the hex SHA-256 of the key in DER format: `openssl pkey -pubin -outform DER | sha256sum`."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def to_pem(key: Ed25519PublicKey) -> str:
    """Return the key as a SubjectPublicKeyInfo in PEM format."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(payload: bytes, payload_type: str, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Return a DSSE envelope over `payload` as JSON, with a signature by each of `keys`."""
    from securesystemslib import dsse
    from securesystemslib.signer import CryptoSigner, SSlibKey

    envelope = dsse.Envelope(payload, payload_type, {})
    for key in keys:
        public = key.public_key()
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        envelope.sign(CryptoSigner(key, SSlibKey(key_id(public), "ed25519", "ed25519", {"public": raw})))
    return (json.dumps(envelope.to_dict(), indent=2) + "\n").encode()


# --- reading ---


def _decoded(text: Any) -> bytes:
    """Decode base64 as DSSE allows it: in the standard or the URL-safe alphabet, without other characters."""
    encoded = required_text(text)
    try:
        return base64.b64decode(encoded.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("ENVELOPE_NOT_BASE64", "This is not base64") from None


_STANDARD = str.maketrans("-_", "+/")
_Base64 = Annotated[bytes, BeforeValidator(_decoded)]


class Signature(OpenDocument):
    """One signature. `key_id` is the signer's unverified name of the key."""

    key_id: TextOrEmpty = Field(default="", alias="keyid")
    value: _Base64 = Field(alias="sig")


def _counted(signatures: tuple[Signature, ...]) -> tuple[Signature, ...]:
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        message = f"An envelope has 1 to {MAX_SIGNATURES} signatures"
        raise PydanticCustomError("ENVELOPE_SIGNATURE_COUNT", message)
    return signatures


class Envelope(OpenDocument):
    """A payload with its signatures. Reading an envelope does not verify them, nor read members that are not signed."""

    payload: _Base64
    payload_type: RequiredText
    signatures: Annotated[tuple[Signature, ...], AfterValidator(_counted), ArrayOrNull] = ()

    def is_signed_by(self, key: Ed25519PublicKey, signature: Signature) -> bool:
        """Return True if `signature` is valid for `key`, this payload and this payload type."""
        from securesystemslib import dsse

        try:
            key.verify(signature.value, dsse.Envelope(self.payload, self.payload_type, {}).pae())
        except InvalidSignature:
            return False
        return True


def read_envelope(document: Mapping[str, Any]) -> Envelope:
    """Return the envelope in a JSON object. Raises `DocumentError` with all findings."""
    return shaped(Envelope, document, _DIALECT)


def descriptor_findings(envelope: Envelope, descriptor: Descriptor) -> list[Finding]:
    """Return a finding if the signed bytes are not equal to `descriptor` as a document."""
    try:
        signed = parse_descriptor(envelope.payload)
    except DocumentError:
        return [_other("The signed bytes are not a release descriptor")]
    if signed.normalised() != descriptor.normalised():
        return [_other("The signature is for another descriptor than the release's")]
    return []


def _other(message: str) -> Finding:
    return Finding("SIGNATURE_OTHER_DESCRIPTOR", f"{ENVELOPE_NAME}#payload", message)
