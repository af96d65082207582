"""The coordinator's key, which signs the statements that it writes: the provenance of executions, and histories."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from releases.errors import ProvenanceKeyMissing
from wire.documents import signing
from wire.documents.execution_statement import PAYLOAD_TYPE
from wire.documents.json_writer import text


def is_configured() -> bool:
    """Return True if the coordinator has the key."""
    return bool(settings.PROVENANCE_KEY)


def sign(statement: Mapping[str, Any]) -> bytes:
    """Return the in-toto statement in a DSSE envelope. Equal statements give equal bytes under one key.

    Raises `ProvenanceKeyMissing`.
    """
    key = _key()
    return signing.sign(text(statement).encode(), PAYLOAD_TYPE, [key])


def public_key() -> signing.PublicKey:
    """Return the public part of the key. Raises `ProvenanceKeyMissing`."""
    return _key().public_key()


def _key() -> signing.PrivateKey:
    if not is_configured():
        raise ProvenanceKeyMissing("Set PROVENANCE_KEY_FILE to sign provenance.")
    return signing.read_private_key(settings.PROVENANCE_KEY)
