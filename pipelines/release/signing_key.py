"""Keys that sign releases: ed25519 in PEM format (PKCS#8), encrypted if a passphrase is set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pipelines.errors import DefinitionError
from wire.documents.signing import key_id, to_pem

PASSPHRASE: Final = "PIPELINES_KEY_PASSPHRASE"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class WrittenKey:
    """A key pair on disk. Only the public file goes to the coordinator."""

    private: Path
    public: Path
    key_id: str
    encrypted: bool


def make(private: Path) -> WrittenKey:
    """Write a new key to ``private``, readable only by its owner, and its public part next to it as ``.pub.pem``.

    The private key is encrypted if ``$PIPELINES_KEY_PASSPHRASE`` is set. Existing files are not overwritten. Raises
    ``DefinitionError``: KEY_EXISTS, OUT_DIR_UNWRITABLE.
    """
    public = private.with_suffix(".pub.pem")
    if public.exists():
        raise _exists(public)
    key, passphrase = Ed25519PrivateKey.generate(), _passphrase()
    protection: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    _write(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)
    _write(public, to_pem(key.public_key()).encode(), 0o644)
    return WrittenKey(private, public, key_id(key.public_key()), encrypted=passphrase is not None)


def load(path: Path) -> Ed25519PrivateKey:
    """Return the private key in ``path``, decrypted with ``$PIPELINES_KEY_PASSPHRASE`` if it is encrypted.

    Raises ``DefinitionError``: SIGNING_KEY_UNREADABLE, SIGNING_KEY_LOCKED, SIGNING_KEY_INVALID. No message contains any
    part of the key or of the passphrase.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"the signing key {path} cannot be read: {type(error).__name__}"
        raise DefinitionError("SIGNING_KEY_UNREADABLE", message) from None
    passphrase = _passphrase()
    locked = b"ENCRYPTED" in data
    if locked and passphrase is None:
        raise DefinitionError("SIGNING_KEY_LOCKED", f"{path} is encrypted: set ${PASSPHRASE}")
    try:
        key = load_pem_private_key(data, passphrase if locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if locked:
            raise DefinitionError("SIGNING_KEY_LOCKED", f"${PASSPHRASE} does not decrypt {path}") from None
        raise _invalid(path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid(path)
    return key


def _invalid(path: Path) -> DefinitionError:
    message = f"{path} is not an ed25519 private key in PEM format (PKCS#8); create one with pipelines key"
    return DefinitionError("SIGNING_KEY_INVALID", message)


def _exists(path: Path) -> DefinitionError:
    return DefinitionError("KEY_EXISTS", f"{path} exists, and keys are not overwritten")


def _passphrase() -> bytes | None:
    return os.environ[PASSPHRASE].encode() if os.environ.get(PASSPHRASE) else None


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise DefinitionError("OUT_DIR_UNWRITABLE", f"{path} cannot be written: {type(error).__name__}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
