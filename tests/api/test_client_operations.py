import json
from pathlib import Path
from typing import Any

from coordinator_client import api
from tests.api.furnished import resolved

FILE = Path(api.__file__).with_name("operations.json")
BASE = "/api/v1/tenants/{tenant}/"
KINDS = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "object",
    "object": "object",
    "": "json",
}
PAGING = {"cursor", "pageSize"}


def member(schema: dict[str, Any], description: str, document: dict[str, Any], required: bool) -> dict[str, Any]:
    found = resolved(document, schema)
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
    if kind == "array" and resolved(document, found["items"]).get("type") == "string":
        facts["kind"] = "texts"
    return {name: value for name, value in facts.items() if value and (name, value) != ("kind", "text")}


def table(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not path.startswith(BASE):
                continue
            members = found[f"{method.upper()} {path.removeprefix(BASE)}"] = {}
            for each in operation.get("parameters", []):
                if each["in"] == "query" and each["name"] not in PAGING:
                    facts = member(each["schema"], each.get("description", ""), document, each.get("required", False))
                    members[each["name"]] = facts
            for content in list(operation.get("requestBody", {}).get("content", {}).values())[:1]:
                body = resolved(document, content["schema"])
                for name, schema in body.get("properties", {}).items():
                    members[name] = member(schema, "", document, name in body.get("required", []))
    return found


def test_the_table_of_the_client_is_that_of_the_document(document: dict[str, Any], tmp_path: Path) -> None:
    wanted = "".join(f"{line}\n" for line in json.dumps(table(document), indent=1).splitlines())
    (tmp_path / FILE.name).write_text(wanted)
    assert FILE.read_text() == wanted, f"copy {tmp_path / FILE.name} to {FILE}"
