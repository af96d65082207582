"""Signatures over a release descriptor: DSSE envelopes (protocol 1.0.2) with ed25519 keys. Pure.

The envelope carries the bytes that were signed, so that what was verified is what is read. Its key ids are hints that
nobody vouches for: whether a signature is good is told by the keys alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import AfterValidator, ConfigDict
from pydantic_core import PydanticCustomError
from securesystemslib import dsse
from securesystemslib.signer import CryptoSigner, SSlibKey

from wire.documents.descriptor import Descriptor, parse_descriptor
from wire.documents.json_reader import Dialect
from wire.documents.shape import ArrayOrNull, Document, RequiredText, TextOrEmpty, shape
from wire.findings import DocumentError, Finding

ENVELOPE_NAME = "pipeline-release.dsse.json"
RELEASE_TYPE = "application/vnd.durable-coordinator.release+json"
"""The payload type of an envelope over the bytes of `pipeline-release.json`."""
MAX_SIGNATURES = 16
MAX_KEY_CHARACTERS = 2000

_DIALECT = Dialect(
    name=ENVELOPE_NAME,
    code="ATTACHMENT",
    preamble="Not a usable envelope: ",
    verbatim=frozenset({"ENVELOPE_NOT_BASE64", "ENVELOPE_SIGNATURE_COUNT"}),
)


@dataclass(frozen=True, slots=True)
class Signature:
    """`key_id` is what the signer said of the key; it proves nothing."""

    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with the signatures over it, none of which has been verified by reading it."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def is_signed_by(self, key: Ed25519PublicKey, signature: Signature) -> bool:
        """Whether `signature` is `key`'s over exactly this payload and payload type."""
        try:
            key.verify(signature.value, dsse.Envelope(self.payload, self.payload_type, {}).pae())
        except InvalidSignature:
            return False
        return True


class KeyUnusable(ValueError):
    """Text that is no ed25519 public key; the message says why, and nothing of the text."""


def read_public_key(pem: str) -> Ed25519PublicKey:
    """The ed25519 key of a SubjectPublicKeyInfo in PEM form. Raises `KeyUnusable`."""
    if "PRIVATE KEY" in pem:
        raise KeyUnusable("This is a private key: give the public one, and consider the private one as leaked.")
    if len(pem) > MAX_KEY_CHARACTERS:
        raise KeyUnusable(f"A public key has at most {MAX_KEY_CHARACTERS} characters.")
    try:
        key = load_pem_public_key(pem.strip().encode())
    except Exception:  # of whichever kind: what cannot be read is no key
        raise KeyUnusable("This is no public key in PEM form (BEGIN PUBLIC KEY).") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable("Only ed25519 keys are used.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """The SHA-256, in hex, of the key's DER form: `openssl pkey -pubin -outform DER | sha256sum`."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def to_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(payload: bytes, payload_type: str, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """A DSSE envelope over `payload`, with a signature of each of `keys`."""
    envelope = dsse.Envelope(payload, payload_type, {})
    for key in keys:
        public = key.public_key()
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        envelope.sign(CryptoSigner(key, SSlibKey(key_id(public), "ed25519", "ed25519", {"public": raw})))
    return (json.dumps(envelope.to_dict(), indent=2) + "\n").encode()


# --- reading ---


def _decoded(text: str) -> bytes:
    """Base64 as DSSE has it: of the standard alphabet or the one for addresses, and nothing but that."""
    try:
        return base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("ENVELOPE_NOT_BASE64", "This is not base64") from None


_STANDARD = str.maketrans("-_", "+/")
_Base64 = Annotated[RequiredText, AfterValidator(_decoded)]


class _Part(Document):
    # DSSE lets others add members, which are not signed and not read.
    model_config = ConfigDict(extra="ignore")


class _Signature(_Part):
    keyid: TextOrEmpty = ""
    sig: _Base64


def _counted(signatures: tuple[_Signature, ...]) -> tuple[_Signature, ...]:
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        message = f"An envelope has 1 to {MAX_SIGNATURES} signatures"
        raise PydanticCustomError("ENVELOPE_SIGNATURE_COUNT", message)
    return signatures


class _Envelope(_Part):
    payload: _Base64
    payload_type: RequiredText
    signatures: Annotated[tuple[_Signature, ...], AfterValidator(_counted), ArrayOrNull] = ()


def read_envelope(document: Mapping[str, Any]) -> Envelope:
    """The envelope of a JSON object that was read strictly. Raises `DocumentError` with every finding."""
    read, findings = shape(_Envelope, document, _DIALECT)
    if read is None:
        raise DocumentError(findings)
    # The validators have turned the text into bytes, which their annotations do not tell.
    payload: Any = read.payload
    signatures = tuple(Signature(each.keyid, _bytes(each.sig)) for each in read.signatures)
    return Envelope(payload, read.payload_type, signatures)


def _bytes(value: Any) -> bytes:
    assert isinstance(value, bytes)  # noqa: S101 - `_decoded` made it
    return value


def descriptor_findings(envelope: Envelope, descriptor: Descriptor) -> list[Finding]:
    """What is wrong where the signed bytes do not say what `descriptor` says."""
    try:
        signed = parse_descriptor(envelope.payload)
    except DocumentError:
        return [_other("The signed bytes are no release descriptor")]
    if signed.normalised() != descriptor.normalised():
        return [_other("The signature is over another descriptor than the release's")]
    return []


def _other(message: str) -> Finding:
    return Finding("SIGNATURE_OTHER_DESCRIPTOR", f"{ENVELOPE_NAME}#payload", message)
