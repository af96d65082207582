"""The input of a submission of the compatibility surface (wire protocol C.1.1)."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from releases.models import Release
from wire.documents import json_writer
from wire.messages.celery_messages import Shape
from wire.messages.payload_envelopes import (
    LIST,
    NULL,
    SET,
    Allowed,
    PayloadRefused,
    Snapshot,
    SnapshotShape,
    TypedPayload,
    parts,
    relabelled,
    snapshot_value,
)


@dataclass(frozen=True, slots=True)
class Ingress:
    """The input in plain JSON, and the snapshot that REST workers receive."""

    value: Any
    snapshot: Snapshot

    @property
    def shape(self) -> Shape:
        return "MULTI" if self.snapshot.shape == "MULTI" else "UNI"


def allowed_types(contract: Mapping[str, Any] | None) -> Allowed:
    """Return the payload types that the settings allow by prefix, and those of the contract."""
    steps = (contract or {}).get("steps") or []
    named = {str(step[end]) for step in steps for end in ("inputTypeId", "outputTypeId") if step.get(end)}
    named |= set((contract or {}).get("canonicalTypes") or {})
    return Allowed(tuple(settings.PAYLOAD_TYPE_PREFIXES), frozenset(named))


def ingress_of(release: Release, shape: SnapshotShape, payload: TypedPayload) -> Ingress:
    """Return the input of `release` from `payload`. Raises `PayloadRefused`.

    Payloads with a concrete type are unchanged. Containers get the contract's input type of the first step. RAW input
    is unchanged, as a single value.
    """
    contract = release.contract.document if release.contract else None
    allowed = allowed_types(contract)
    steps = (contract or {}).get("steps") or []
    type_id = steps[0].get("inputTypeId") if steps else None
    if shape == "MULTI":
        items = [relabelled(item, type_id, allowed) for item in _items(payload)]
        snapshot = Snapshot(shape="MULTI", items=items)
    else:
        typed = payload if shape == "RAW" else relabelled(payload, type_id, allowed)
        snapshot = Snapshot(shape="UNI", payload=typed)
    return Ingress(snapshot_value(snapshot, allowed), snapshot)


def _items(payload: TypedPayload) -> list[TypedPayload]:
    if payload.payload_type_id == NULL:
        return []
    if payload.payload_type_id not in (LIST, SET):
        raise PayloadRefused("MULTI input must be a list")
    return parts(payload)


def server_key(tenant_id: str, value: Any) -> str:
    """Return the key of a submission without one: the same for equal inputs (wire protocol C.1.2)."""
    digest = hashlib.sha256(f"{tenant_id}:{json_writer.canonical(value)}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
