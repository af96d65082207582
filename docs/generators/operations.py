"""The table of operations of the client, `coordinator_client/operations.json`, from the OpenAPI document."""

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
    found = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return json.loads(OpenApiJsonRenderer().render(found))


def page() -> str:
    operations = {
        f"{method.upper()} {path.removeprefix(BASE)}": dict(_members(operation))
        for path, methods in document()["paths"].items()
        if path.startswith(BASE)
        for method, operation in methods.items()
    }
    return json.dumps(operations, indent=1) + "\n"


def _members(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parameters of the query of an operation, and the members of its body."""
    for each in operation.get("parameters", []):
        if each["in"] == "query" and each["name"] not in PAGING:
            yield each["name"], _member(each["schema"], each.get("description", ""), each.get("required", False))
    for content in list(operation.get("requestBody", {}).get("content", {}).values())[:1]:
        body = _resolved(content["schema"])
        for name, schema in body.get("properties", {}).items():
            yield name, _member(schema, "", name in body.get("required", []))


def _member(schema: dict[str, Any], description: str, required: bool) -> dict[str, Any]:
    found = _resolved(schema)
    types = found.get("type", [])
    types = [types] if isinstance(types, str) else types
    [kind] = [each for each in types if each != "null"] or [""]
    facts = {
        "kind": "moment" if found.get("format") == "date-time" else KINDS[kind],
        "required": required,
        "nullable": "null" in types,
        "help": " ".join((description or schema.get("description", "")).split()),
        "choices": [each for each in found.get("enum", []) if each is not None],
    }
    if kind == "array" and _resolved(found["items"]).get("type") == "string":
        facts["kind"] = "texts"
    return {name: value for name, value in facts.items() if value and (name, value) != ("kind", "text")}


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a schema refers to, or the schema itself."""
    for each in (schema, *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if "$ref" in each:
            found: dict[str, Any] = document()["components"]["schemas"][each["$ref"].rpartition("/")[2]]
            return found
    return schema
