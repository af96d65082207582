from collections.abc import Mapping
from typing import Any

from tests import making
from wire.comparison.differences import ReleaseFacts
from wire.documents.contract import Contract, contract_from_json
from wire.documents.descriptor import descriptor_from_json

Row = tuple[str, str, str, str]
"""The area, the kind, the impact and the path of a difference."""


def scalar(name: str) -> dict[str, str]:
    return {"kind": "scalar", "id": name}


def named(name: str) -> dict[str, str]:
    return {"kind": "named", "id": name}


def field(name: str, expression: dict[str, Any] | str = "string", **members: Any) -> dict[str, Any]:
    return {"name": name, "type": scalar(expression) if isinstance(expression, str) else expression, **members}


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "record", "fields": list(fields)}


def wrapper(wraps: str = "string", **constraints: Any) -> dict[str, Any]:
    return {"kind": "wrapper", "wraps": scalar(wraps), **constraints}


def catalogue(**definitions: dict[str, Any]) -> dict[str, Any]:
    return {name: {"definition": {"id": name, **definition}} for name, definition in definitions.items()}


def step(name: str, **members: Any) -> dict[str, Any]:
    return {**making.STEP, "authoredName": name, "inputTypeId": "Order", "outputTypeId": "Receipt", **members}


def contract(*steps: dict[str, Any], types: Mapping[str, dict[str, Any]] | None = None, **members: Any) -> Contract:
    numbered = [{**item, "index": index} for index, item in enumerate(steps or (step("Validate"),))]
    definitions = {"Order": record(field("id")), "Receipt": record(field("id")), **(types or {})}
    document = making.contract(steps=numbered, canonicalTypes=catalogue(**definitions), **members)
    return contract_from_json(document)


def facts(described: Contract | None) -> ReleaseFacts:
    """Return a release whose contract is `described`, with one artifact that is always the same."""
    document = making.descriptor({"pipelineId": "p", "contractVersion": "c"}, b"x")
    return ReleaseFacts(descriptor_from_json(document), described)
