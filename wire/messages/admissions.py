"""Strict admissions of the founding framework of November 2026: the intent that a client key stands for. Pure."""

import hashlib
from dataclasses import dataclass

from wire.messages.payload_envelopes import SnapshotShape, TypedPayload

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionIntent:
    """What a client wants to be admitted under its key, with the exact text of its payload."""

    tenant_id: str
    pipeline_id: str
    client_key: str
    contract_version: str
    release_version: str
    input_shape: SnapshotShape
    payload: TypedPayload
    output_streaming: bool

    def fingerprint(self) -> str:
        """Return the SHA-256 of all members, each with its length. Clients compute the same one."""
        texts = (
            self.tenant_id,
            self.pipeline_id,
            self.client_key,
            self.contract_version,
            self.release_version,
            self.input_shape,
            self.payload.payload_type_id,
            self.payload.payload_encoding,
            self.payload.payload,
        )
        digest = hashlib.sha256(_number(SCHEMA_VERSION))
        for text in texts:
            encoded = text.encode()
            digest.update(_number(len(encoded)) + encoded)
        digest.update(bytes([self.output_streaming]))
        return digest.hexdigest()


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def admission_key(client_key: str) -> str:
    """Return the key of an execution that is admitted under a client key, which belongs to no release.

    No client can choose this key for an ordinary submission: it contains a no-break space, which is not allowed in
    identifiers.
    """
    return f"execution\u00a0admission:{client_key}"
