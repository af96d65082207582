"""The table of the client, `coordinator_client/operations.json`: the operations of the OpenAPI document that are not
deprecated.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

BASE: Final = "/api/v1/tenants/{tenant}/"
KINDS: Final = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "object",
    "object": "object",
    "": "json",
}
PAGING: Final = {"cursor", "pageSize"}


@cache
def document() -> Any:
    """Return the OpenAPI document as clients get it."""
    generated = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return json.loads(OpenApiJsonRenderer().render(generated))


def page() -> str:
    operations = {
        f"{method.upper()} {path.removeprefix(BASE)}": dict(_members(operation))
        for path, methods in document()["paths"].items()
        if path.startswith(BASE)
        for method, operation in methods.items()
        if not operation.get("deprecated")
    }
    return json.dumps(operations, indent=1) + "\n"


def _members(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parameters of the query of an operation, and the members of its body."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query" and parameter["name"] not in PAGING:
            yield (
                parameter["name"],
                _member(parameter["schema"], parameter.get("description", ""), parameter.get("required", False)),
            )
    for content in list(operation.get("requestBody", {}).get("content", {}).values())[:1]:
        body = _resolved(content["schema"])
        for name, schema in body.get("properties", {}).items():
            yield name, _member(schema, "", name in body.get("required", []))


def _member(schema: dict[str, Any], description: str, required: bool) -> dict[str, Any]:
    described = _resolved(schema)
    types = described.get("type", [])
    types = [types] if isinstance(types, str) else types
    [kind] = [kind_of_value for kind_of_value in types if kind_of_value != "null"] or [""]
    facts = {
        "kind": "moment" if described.get("format") == "date-time" else KINDS[kind],
        "required": required,
        "nullable": "null" in types,
        "help": " ".join((description or schema.get("description", "")).split()),
        "choices": [choice for choice in described.get("enum", []) if choice is not None],
    }
    if kind == "array" and _resolved(described["items"]).get("type") == "string":
        facts["kind"] = "texts"
    return {name: value for name, value in facts.items() if value and (name, value) != ("kind", "text")}


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a schema refers to, or the schema itself."""
    for candidate in (schema, *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if "$ref" in candidate:
            resolved: dict[str, Any] = document()["components"]["schemas"][candidate["$ref"].rpartition("/")[2]]
            return resolved
    return schema
