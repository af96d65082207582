"""Keys that sign releases: ed25519, as PKCS#8 in PEM form, encrypted where a passphrase is set."""

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
    """A pair on disk. The coordinator is given the public file alone."""

    private: Path
    public: Path
    key_id: str
    encrypted: bool


def make(private: Path) -> WrittenKey:
    """Write a new key to ``private``, for its owner's eyes alone, and its public part beside it as ``.pub.pem``.

    With ``$PIPELINES_KEY_PASSPHRASE`` it is encrypted. Nothing is written over. Raises ``DefinitionError``:
    KEY_EXISTS, OUT_DIR_UNWRITABLE.
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
    """The key in ``path``. Raises ``DefinitionError``: SIGNING_KEY_UNREADABLE, SIGNING_KEY_LOCKED,
    SIGNING_KEY_INVALID. No message holds anything of the key or of the passphrase.
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
            raise DefinitionError("SIGNING_KEY_LOCKED", f"${PASSPHRASE} does not open {path}") from None
        raise _invalid(path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid(path)
    return key


def _invalid(path: Path) -> DefinitionError:
    message = f"{path} is no ed25519 private key in PEM form (PKCS#8); python -m pipelines key makes one"
    return DefinitionError("SIGNING_KEY_INVALID", message)


def _exists(path: Path) -> DefinitionError:
    return DefinitionError("KEY_EXISTS", f"{path} is there already, and no key is written over")


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
