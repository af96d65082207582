"""Converts plain JSON to typed payloads and back. Pure; no other module does this.

The product stores plain JSON. Clients of the compatibility surface and REST workers use payloads that contain the name
of their type, and the JSON as text. `plain` reads a payload; `natural` and `typed` write one.
Original payloads are stored too (`WireForm`), because a conversion there and back would change what a client sent.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from wire.documents import json_writer
from wire.documents.json_reader import storable
from wire.documents.shape import null_as

ENCODING = "application/tpf-transition+json"
NULL = "null"
MAP, LIST, SET = "java.util.Map", "java.util.List", "java.util.Set"
SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
DEFAULT_PREFIXES = ("org.pipelineframework.",)
DEEPEST = 64
"""How many levels a payload may nest."""
LONGEST_TEXT = 16 * 1024**2
"""In characters. Each level of a container escapes its content again, so the text can be far longer than the value."""

_CONTAINERS = {MAP: "map", LIST: "list", SET: "set"}
_INSTANT = "java.time.Instant"
_SCALARS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("java.lang.Byte", "java.lang.Short", "java.lang.Integer", "java.lang.Long"), int),
    **dict.fromkeys(("java.lang.Double", "java.lang.Float", "java.math.BigDecimal"), (int, float, str)),
    "java.math.BigInteger": int,
    "java.lang.Boolean": bool,
    "java.lang.Character": str,
    "java.lang.String": str,
    _INSTANT: (int, float, str),
    "java.time.LocalDate": str,
    "java.time.LocalDateTime": str,
    "java.time.OffsetDateTime": str,
    "java.time.ZonedDateTime": str,
    "java.nio.file.Path": str,
    "java.util.UUID": str,
}
CANONICAL_SCALARS = frozenset({"boolean", "integer", "number", "string", "decimal", "datetime", "date", "uuid", "json"})
"""Scalars that a contract names by their canonical name. As payloads they have the type that JSON gives them."""

_DOMAIN_CLASS = re.compile(r"([\w.]+)\.common\.domain\.(\w+)")

SnapshotShape = Literal["UNI", "MULTI", "RAW"]


class PayloadRefused(Exception):
    """A payload cannot be read or written. The text is what clients of `/tpf` know."""


class PayloadTooLong(PayloadRefused):
    """A payload is too long to be written."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class TypedPayload(_Strict):
    """A SerializedTransitionPayload. It has exactly these three members; `payload` is JSON text."""

    payload_type_id: str
    payload_encoding: str
    payload: str

    def document(self) -> dict[str, str]:
        """Return the payload as a JSON object with the members of the protocol, in its order."""
        return {
            "payloadTypeId": self.payload_type_id,
            "payloadEncoding": self.payload_encoding,
            "payload": self.payload,
        }


class _Mapping(_Strict):
    items: dict[str, TypedPayload] | None = None


class _Items(_Strict):
    items: list[TypedPayload] | None = None


class Snapshot(_Strict):
    """The input of an execution: one payload, or the items of a stream. It may have members of later versions.

    `pipeline_context` is the policy of the request for versions, replays and caches. Coordinators of `/tpf` send
    it since October 2026, and earlier workers refuse it. It has no meaning here.
    """

    model_config = ConfigDict(extra="allow")

    shape: SnapshotShape
    payload: TypedPayload | None = None
    items: Annotated[list[TypedPayload], null_as([])] = []
    pipeline_context: Any = None

    def document(self) -> dict[str, Any]:
        """Return the snapshot as a JSON object, with the members that every version knows."""
        return self.model_dump(by_alias=True, include={"shape", "payload", "items"})

    def as_payload(self) -> TypedPayload:
        """Return the payload that contains this snapshot."""
        return TypedPayload(
            payload_type_id=SNAPSHOT, payload_encoding=ENCODING, payload=json_writer.text(self.document())
        )


@dataclass(frozen=True, slots=True)
class Allowed:
    """The types of objects that are read: by a prefix of their name, or because a contract names them."""

    prefixes: tuple[str, ...] = DEFAULT_PREFIXES
    named: frozenset[str] = frozenset()

    def allows(self, type_id: str) -> bool:
        """Return True if objects of this type are read."""
        return type_id in self.named or any(prefix and type_id.startswith(prefix) for prefix in self.prefixes)


# --- reading --------------------------------------------------------------------------------------


def read_payload(document: Any, *, lenient: bool = False) -> TypedPayload:
    """Return the payload in decoded JSON. With `lenient`, unknown members are ignored.

    Raises `PayloadRefused`.
    """
    if lenient and isinstance(document, Mapping):
        document = {
            name: document[name] for name in ("payloadTypeId", "payloadEncoding", "payload") if name in document
        }
    try:
        return TypedPayload.model_validate(document)
    except ValidationError:
        raise PayloadRefused("Failed to decode transition payload") from None


def parts(payload: TypedPayload) -> list[TypedPayload]:
    """Return the items of a list or set as payloads. Raises `PayloadRefused`."""
    _require_encoding(payload)
    kind = _CONTAINERS.get(payload.payload_type_id)
    if kind not in {"list", "set"}:
        raise _unreadable(payload)
    return _container(_Items, payload, kind).items or []


def read_snapshot(payload: TypedPayload) -> Snapshot:
    """Return the snapshot in a payload. Raises `PayloadRefused`."""
    _require_encoding(payload)
    try:
        return Snapshot.model_validate_json(payload.payload)
    except ValidationError:
        raise _unreadable(payload) from None


def plain(payload: TypedPayload, allowed: Allowed | None, depth: int = 1) -> Any:
    """Return the plain JSON value of a payload. None allows every type, for values that are stored uninterpreted.

    `depth` is the level inside of other payloads. Raises `PayloadRefused` with the protocol's message.
    """
    _require_encoding(payload)
    type_id = payload.payload_type_id
    if depth > DEEPEST:
        raise _unreadable(payload)
    if type_id == NULL:
        return None
    if type_id == MAP:
        members = _container(_Mapping, payload, "map").items or {}
        if any(not key.strip() for key in members):
            raise PayloadRefused("Failed to decode transition map payload")
        return {key: plain(inner, allowed, depth + 1) for key, inner in members.items()}
    if type_id in (LIST, SET):
        inside = _container(_Items, payload, _CONTAINERS[type_id]).items or []
        return [plain(inner, allowed, depth + 1) for inner in inside]
    if type_id == SNAPSHOT:
        return snapshot_value(read_snapshot(payload), allowed)
    if type_id in _SCALARS:
        return _scalar(payload)
    if allowed is not None and not allowed.allows(type_id):
        raise PayloadRefused(f"Unsupported transition payload type: {type_id}")
    return _value(payload)


def snapshot_value(snapshot: Snapshot, allowed: Allowed | None) -> Any:
    """Return the plain value of a snapshot; for MULTI the list of its items. Raises `PayloadRefused`."""
    if snapshot.shape == "MULTI":
        return [plain(item, allowed, 2) for item in snapshot.items]
    return None if snapshot.payload is None else plain(snapshot.payload, allowed, 2)


def _require_encoding(payload: TypedPayload) -> None:
    if payload.payload_encoding != ENCODING:
        raise PayloadRefused(f"Unsupported transition payload encoding: {payload.payload_encoding}")


def _unreadable(payload: TypedPayload) -> PayloadRefused:
    return PayloadRefused(f"Failed to decode transition payload type {payload.payload_type_id}")


def _container(model: Any, payload: TypedPayload, kind: str) -> Any:
    try:
        return model.model_validate_json(payload.payload)
    except ValidationError:
        raise PayloadRefused(f"Failed to decode transition {kind} payload") from None


def _value(payload: TypedPayload) -> Any:
    try:
        return storable(payload.payload)
    except ValueError:
        raise _unreadable(payload) from None


def _scalar(payload: TypedPayload) -> Any:
    value = _value(payload)
    wanted = _SCALARS[payload.payload_type_id]
    is_flag = isinstance(value, bool)
    if value is not None and (not isinstance(value, wanted) or is_flag != (wanted is bool)):
        raise _unreadable(payload)
    if payload.payload_type_id == _INSTANT and isinstance(value, int | float):
        return _instant(payload)
    return value


def _instant(payload: TypedPayload) -> str:
    """Return decimal epoch seconds as ISO 8601 text, with the same number of decimal places."""
    try:
        seconds, fraction = divmod(Decimal(payload.payload.strip()), 1)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))
    except (InvalidOperation, OverflowError, ValueError):
        raise _unreadable(payload) from None
    if fraction < 0:
        moment, fraction = moment - timedelta(seconds=1), fraction + 1
    digits = re.sub(r"^0", "", f"{fraction:f}").rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z"


# --- writing --------------------------------------------------------------------------------------


def typed(value: Any, type_id: str | None) -> TypedPayload:
    """Return a plain JSON value as a payload of the type that a contract or an await names; else as `natural` does.

    Null has no type. Raises `PayloadRefused`.
    """
    if value is None or not type_id or not type_id.strip() or type_id in CANONICAL_SCALARS:
        return natural(value)
    return _payload(type_id, json_writer.text(value))


def listed(items: Iterable[TypedPayload]) -> TypedPayload:
    """Return a `java.util.List` of unchanged payloads."""
    return _payload(LIST, json_writer.text({"items": [item.document() for item in items]}))


def travelling_type(type_id: str, transport: str | None) -> str:
    """Return the type of payloads for a contract's type.

    Over REST, a domain class of `/tpf` is sent as its transfer object. Every other type is sent as itself.
    """
    domain = _DOMAIN_CLASS.fullmatch(type_id) if transport == "REST" else None
    return f"{domain[1]}.common.dto.{domain[2]}Dto" if domain else type_id


def relabelled(payload: TypedPayload, type_id: str | None, allowed: Allowed) -> TypedPayload:
    """Return a container with the contract's type, and other payloads unchanged.

    Raises `PayloadRefused`.
    """
    if payload.payload_type_id not in _CONTAINERS or not type_id or not type_id.strip():
        return payload
    return typed(plain(payload, allowed), type_id)


def snapshot(shape: Literal["UNI", "MULTI"], value: Any, type_id: str | None) -> Snapshot:
    """Return the snapshot of a plain value, or of its items if `shape` is MULTI. Raises `PayloadRefused`."""
    if shape == "MULTI":
        return Snapshot(shape=shape, items=[typed(item, type_id) for item in value])
    return Snapshot(shape=shape, payload=typed(value, type_id))


def natural(value: Any, depth: int = 1) -> TypedPayload:
    """Return a plain JSON value as a payload with the type that follows from JSON itself.

    Raises `PayloadRefused` for a map with a blank key, and for a value that nests too deep or becomes too long.
    """
    if depth > DEEPEST:
        raise PayloadRefused(f"the value nests deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        if any(not key.strip() for key in value):
            raise PayloadRefused("a map with a blank key cannot be sent")
        inner = {key: natural(item, depth + 1).document() for key, item in value.items()}
        return _payload(MAP, json_writer.text({"items": inner}))
    if isinstance(value, list | tuple):
        return _payload(LIST, json_writer.text({"items": [natural(item, depth + 1).document() for item in value]}))
    if isinstance(value, Decimal):
        return _payload("java.math.BigDecimal", f"{value:f}")
    return _payload(_scalar_type(value), json_writer.text(value))


def _scalar_type(value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return "java.lang.Integer"
        return "java.lang.Long" if -(2**63) <= value < 2**63 else "java.math.BigInteger"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadRefused(f"{value} is not a valid JSON number")
        return "java.lang.Double"
    if isinstance(value, str):
        return "java.lang.String"
    raise PayloadRefused(f"a {type(value).__name__} is not a JSON value")


def _payload(type_id: str, text: str) -> TypedPayload:
    if len(text) > LONGEST_TEXT:
        raise PayloadTooLong(f"the payload would have more than {LONGEST_TEXT} characters")
    return TypedPayload(payload_type_id=type_id, payload_encoding=ENCODING, payload=text)


INTENT_VERSION = 1


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
        digest = hashlib.sha256(_length(INTENT_VERSION))
        for text in texts:
            encoded = text.encode()
            digest.update(_length(len(encoded)) + encoded)
        digest.update(bytes([self.output_streaming]))
        return digest.hexdigest()


def _length(value: int) -> bytes:
    return value.to_bytes(4, "big")


def admission_key(client_key: str) -> str:
    """Return the key of an execution that is admitted under a client key, which belongs to no release.

    No client can choose this key for an ordinary submission: it contains a no-break space, which is not allowed in
    identifiers.
    """
    return f"execution\u00a0admission:{client_key}"
