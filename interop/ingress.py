"""A submission of the compatibility surface as the domain takes it, and what is kept of it as it came (C.1.1)."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings

from releases.models import Release
from wire.documents import json_values
from wire.messages.payload_envelopes import (
    LIST,
    NULL,
    SET,
    Allowed,
    PayloadRefused,
    Snapshot,
    TypedPayload,
    parts,
    relabelled,
    snapshot_value,
)

InputShape = Literal["UNI", "MULTI", "RAW"]


@dataclass(frozen=True, slots=True)
class Ingress:
    """The plain input with its shape, and the snapshot that REST workers are sent."""

    value: Any
    snapshot: Snapshot

    @property
    def shape(self) -> Literal["UNI", "MULTI"]:
        return "MULTI" if self.snapshot.shape == "MULTI" else "UNI"


def allowed_types(contract: Mapping[str, Any] | None) -> Allowed:
    """The types by the prefixes of the installation, and those that the contract itself names."""
    steps = (contract or {}).get("steps") or []
    named = {str(step[end]) for step in steps for end in ("inputTypeId", "outputTypeId") if step.get(end)}
    named |= set((contract or {}).get("canonicalTypes") or {})
    return Allowed(tuple(settings.PAYLOAD_TYPE_PREFIXES), frozenset(named))


def taken_in(release: Release, shape: InputShape, payload: TypedPayload) -> Ingress:
    """Concretely typed payloads stay as they are; containers get the type that the contract names for its first step.

    RAW stays whatever it is, as one value. Raises `PayloadRefused`.
    """
    contract = release.contract.document if release.contract else None
    allowed = allowed_types(contract)
    steps = (contract or {}).get("steps") or []
    type_id = steps[0].get("inputTypeId") if steps else None
    if shape == "MULTI":
        items = [relabelled(item, type_id, allowed) for item in _items(payload)]
        snapshot = Snapshot(shape="MULTI", items=items)
    else:
        kept = payload if shape == "RAW" else relabelled(payload, type_id, allowed)
        snapshot = Snapshot(shape="UNI", payload=kept)
    return Ingress(snapshot_value(snapshot, allowed), snapshot)


def _items(payload: TypedPayload) -> list[TypedPayload]:
    if payload.payload_type_id == NULL:
        return []
    if payload.payload_type_id not in (LIST, SET):
        raise PayloadRefused("many items come as a list")
    return parts(payload)


def server_key(tenant_id: str, value: Any) -> str:
    """Return the key of a submission without one: the same for equal inputs (wire protocol C.1.2)."""
    digest = hashlib.sha256(f"{tenant_id}:{json_values.canonical(value)}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
