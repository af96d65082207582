"""Every endpoint: invalid requests have a specific code and change nothing, and no value makes an endpoint fail."""

import base64
import json
import re
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any
from urllib.parse import quote

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.api import endpoints
from tests.api.endpoints import BODIES, PIPELINE, RESUME, RESUMPTION, SCOPES, named
from tests.api.furnished import Furnished, furnished, operations, pages, resolved
from tests.api.tenant_api import fields, unchanged
from tests.cases import cases
from tests.hostile_values import NO_IDENTIFIERS, NUMBERS, TEXTS
from wire.identity import PATTERN, SEGMENT_PATTERN

# Each test sends hundreds of requests, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)
EVERY = [*SCOPES, RESUME]


@pytest.fixture(scope="module")
def ours(module_world: None, installation: None) -> Furnished:
    return furnished()


def body_of(ours: Furnished, method: str, path: str) -> Any:
    return RESUMPTION if (method, path) == RESUME else ours.body(method, path)


NO_OBJECTS: list[tuple[bytes, str]] = [
    (b"{}{}", "DOCUMENT_NOT_JSON"),
    (b"[]", "DOCUMENT_NOT_OBJECT"),
    (b"\xef\xbb\xbf{}", "DOCUMENT_HAS_BOM"),
    (b'{"reason": "\xff"}', "DOCUMENT_NOT_UTF8"),
    (b'{"input": {"b": [{"c": 1, "c": 1}]}}', "DOCUMENT_DUPLICATE_KEY"),
    (b'{"response": NaN}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    (b'{"input": ' + b"9" * 5_000 + b"}", "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    (b'{"reason": "\\u0000"}', "DOCUMENT_BAD_CHARACTER"),
    (b'{"input": ' + b"[" * 64 + b"]" * 64 + b"}", "DOCUMENT_TOO_DEEP"),
    (b'{"response": [' + b"0," * 100_000 + b"0]}", "DOCUMENT_TOO_MANY_VALUES"),
]
READERS = [("POST", "executions"), ("POST", "executions:batch"), ("PATCH", PIPELINE), RESUME]
"""Endpoints that get all invalid bodies. The others share their readers and get some."""


def test_a_body_that_is_not_a_strict_json_object_is_rejected(ours: Furnished, subtests: pytest.Subtests) -> None:
    with unchanged():
        for method, path in BODIES:
            with subtests.test(f"{method} {path}"):
                url = ours.url(path)
                for body, code in NO_OBJECTS if (method, path) in READERS else NO_OBJECTS[:1]:
                    problem = ours.rejects(method, url, body)
                    assert {error["code"] for error in problem["errors"]} == {code}, body[:50]
                sent = json.dumps(body_of(ours, method, path)).encode()
                ours.rejects(method, url, sent, 415, "UNSUPPORTED_MEDIA_TYPE", content_type="text/plain")
                problem = ours.rejects(method, url, {**BODIES[method, path], "surprise": 1, "Reason": "x"})
                assert {"surprise": "UNKNOWN_MEMBER", "Reason": "UNKNOWN_MEMBER"}.items() <= fields(problem).items()


@cases(("method", "path"), READERS)
def test_a_body_above_the_limit_is_rejected(ours: Furnished, settings: Any, method: str, path: str) -> None:
    settings.MAX_REQUEST_BYTES, settings.MAX_BATCH_BYTES = 600, 900
    limit = settings.MAX_BATCH_BYTES if path.endswith(":batch") else settings.MAX_REQUEST_BYTES
    body = b'{"reason": "' + b"x" * (limit - 14) + b'"}'
    assert ours.rejects(method, ours.url(path), body + b" ", 413, "PAYLOAD_TOO_LARGE")["limit"] == limit
    assert ours.api.call(method, ours.url(path), body).status_code != 413


WRONG: dict[str, Any] = {
    "string": "text",
    "integer": 7,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {"a": 1},
    "null": None,
}


def members_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    content = operations(document)[method, path]["requestBody"]["content"]["application/json"]
    members: dict[str, Any] = resolved(document, content["schema"])["properties"]
    return members


def test_wrong_types_of_members_are_named(ours: Furnished, document: dict[str, Any], subtests: pytest.Subtests) -> None:
    """The OpenAPI document defines the types of each member. The first and the last wrong value of each are sent."""
    with unchanged():
        for method, path in BODIES:
            with subtests.test(f"{method} {path}"):
                members = members_of(document, method, path).items()
                types = {name: types_of(document, member) for name, member in members}
                for order in (list(WRONG), list(reversed(WRONG))):
                    wrong = {
                        member: next(WRONG[name] for name in order if name not in known)
                        for member, known in types.items()
                        if not known.issuperset(WRONG)
                    }
                    problem = ours.rejects(method, ours.url(path), {**BODIES[method, path], **wrong})
                    assert {field.split(".")[0] for field in fields(problem)} == wrong.keys()


def bounds(
    document: dict[str, Any], schema: dict[str, Any], prefix: str = "", *, inside: bool = False
) -> Iterator[tuple[str, Any]]:
    """Yield members of a body and values that the schema does not allow, also for members of nested objects."""
    for name, member in resolved(document, schema).get("properties", {}).items():
        limits, path = resolved(document, member), f"{prefix}{name}"
        types, of_items = types_of(document, member), resolved(document, limits.get("items", {}))
        if inside:
            yield from islice(((path, value) for name, value in WRONG.items() if name not in types), 1)
        if "enum" in limits and "string" in types:
            yield path, "nonsense"
        if "maxLength" in limits:
            yield path, "x" * (limits["maxLength"] + 1)
        if limits.get("minLength") and "string" in types:
            yield from ((path, value) for value in ("", " \n"))
        yield from (
            (path, limits[bound] + step) for bound, step in (("minimum", -1), ("maximum", 1)) if bound in limits
        )
        if limits.get("minItems"):
            yield path, []
        if "properties" in limits or "properties" in of_items:
            yield from bounds(document, limits if "properties" in limits else of_items, f"{path}.", inside=True)
            yield f"{path}.surprise", 1


def test_documented_bounds_are_enforced(ours: Furnished, document: dict[str, Any], subtests: pytest.Subtests) -> None:
    with unchanged():
        for method, path in BODIES.keys() - {("POST", "executions:batch")}:
            content = operations(document)[method, path]["requestBody"]["content"]["application/json"]
            body = body_of(ours, method, path)
            with subtests.test(f"{method} {path}"):
                for member, value in bounds(document, content["schema"]):
                    answer = readable(ours, method, ours.url_of(method, path), changed(body, member, value))
                    assert answer.status_code in {400, 422}, (member, value, answer.content)
                    # If the row has no such object, other members of it are missing too.
                    depth = None if member.partition(".")[0] in body else 1
                    errors = [re.sub(r"\.\d+|\[\d+\]", "", field) for field in fields(answer.json())]
                    parts = tuple(member.split("."))[:depth]
                    assert {parts, parts[:-1]} & {tuple(field.split(".")[:depth]) for field in errors}, (member, errors)
                for member in resolved(document, content["schema"]).get("required", ()):
                    rest = {name: value for name, value in body.items() if name != member}
                    assert fields(ours.rejects(method, ours.url(path), rest))[member] == "REQUIRED"


def test_bounds_of_parameters_are_enforced(ours: Furnished, document: Any, subtests: pytest.Subtests) -> None:
    """`coordinator.waits` enforces those of `wait`, which no view gets."""
    with unchanged():
        for (method, path), operation in operations(document).items():
            required = endpoints.QUERIES.get(path, "?")
            for parameter in operation.get("parameters", ()):
                name, place, schema = parameter["name"], parameter["in"], parameter["schema"]
                is_valid = jsonschema.Draft202012Validator(schema).is_valid
                for _, value in bounds(document, {"properties": {name: schema}}):
                    if place == "path" or name == "wait" or is_valid(value):
                        continue
                    sent: dict[str, Any] = {"headers": {name: str(value)}} if place == "header" else {}
                    url = f"{ours.url(path)}{required}" + ("" if sent else f"&{name}={quote(str(value))}")
                    with subtests.test(f"{method} {path}", name=name, value=value):
                        assert name in fields(ours.rejects(method, url, **sent))


def test_what_the_document_calls_optional_is_optional(
    ours: Furnished, document: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for method, path in BODIES:
        schema = operations(document)[method, path]["requestBody"]["content"]["application/json"]["schema"]
        is_valid = jsonschema.Draft202012Validator({**schema, "components": document["components"]}).is_valid
        body = body_of(ours, method, path)
        optional = body.keys() - resolved(document, schema).get("required", ())
        with subtests.test(f"{method} {path}"):
            for left_out in (optional, *({name} for name in optional)):
                sent = {name: value for name, value in body.items() if name not in left_out}
                if is_valid(sent):
                    problem = readable(ours, method, ours.url_of(method, path), sent).json()
                    assert problem.get("code") != "INVALID_REQUEST", (sent, problem)


def types_of(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema or "allOf" in schema:
        return types_of(document, resolved(document, schema))
    named = schema.get("type", list(WRONG))
    types = {named} if isinstance(named, str) else set(named)
    types -= types_of(document, schema["not"]) if "not" in schema else set()
    return types | ({"integer"} if "number" in types else set())


def test_only_the_documented_methods_are_allowed(ours: Furnished, subtests: pytest.Subtests) -> None:
    with unchanged():
        for path in sorted({path for _, path in EVERY}):
            with subtests.test(path):
                for method in {"GET", "POST", "DELETE"} - {method for method, listed in EVERY if listed == path}:
                    ours.rejects(method, ours.url(path), {}, 405, "METHOD_NOT_ALLOWED")


def cursor(text: str) -> str:
    return quote(base64.b64encode(text.encode()).decode(), safe="")


QUERIES = {
    "surprise=1": {"surprise": "UNKNOWN_PARAMETER"},
    "Cursor=x&PAGESIZE=1": {"Cursor": "UNKNOWN_PARAMETER", "PAGESIZE": "UNKNOWN_PARAMETER"},
    "cursor=": {"cursor": "BLANK"},
    "pageSize=": {"pageSize": "BLANK"},
    **{f"pageSize={size}": {"pageSize": "INVALID"} for size in ("1.5", "+1", "1_0", "%D9%A1", "9" * 5_000)},
    **{f"cursor={text}": {"cursor": "INVALID"} for text in ("x", "%00", "%FF%FE")},
    **{
        f"cursor={cursor(text)}": {"cursor": "INVALID"} for text in ("p=word", "o=-1", "r=word", "p=[null,null]", "p=7")
    },
}
"""All are sent to one list, and the first one to the others, because all lists share the code that reads them."""


def test_invalid_list_parameters_are_named(ours: Furnished, document: Any, subtests: pytest.Subtests) -> None:
    for path in pages(document):
        for query, expected in islice(QUERIES.items(), None if path == "executions" else 1):
            with subtests.test(path, query=query[:40]):
                assert fields(ours.rejects("GET", f"{ours.url(path)}?{query}")) == expected


VALUES = [*(text for text in TEXTS.values() if "\x00" not in text), *NUMBERS, [], {}, None, [[1]], {"a": {"b": 1}}]
MALFORMED_IDENTIFIERS = [text for name, text in NO_IDENTIFIERS.items() if name not in {"nothing", "blanks", "U+0000"}]


def readable(ours: Furnished, method: str, url: str, body: Any = None, **more: Any) -> Any:
    """Send a request, whose response must be readable JSON and no failure."""
    response = ours.api.call(method, url, body, **more)
    assert response.status_code < 500, (method, url, body, more, response.content)
    json.loads(response.content, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    return response


def members(body: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the names of all members, including those of nested objects."""
    names = []
    for name, value in body.items():
        names += [f"{prefix}{name}"]
        inner = value[0] if value and isinstance(value, list) else value
        names += members(inner, f"{prefix}{name}.") if isinstance(inner, dict) else []
    return names


def changed(body: dict[str, Any], member: str, value: Any) -> dict[str, Any]:
    name, _, rest = member.partition(".")
    if not rest:
        return {**body, name: value}
    inner = body.get(name, {})
    return {**body, name: [changed(inner[0], rest, value)] if isinstance(inner, list) else changed(inner, rest, value)}


def test_no_member_makes_an_endpoint_fail(ours: Furnished, document: dict[str, Any], subtests: pytest.Subtests) -> None:
    """The values take turns, so that each member gets some of them and all of them are sent often."""
    values = cycle(VALUES)
    for (method, path), body in BODIES.items():
        with subtests.test(f"{method} {path}"):
            documented = members_of(document, method, path)
            for member in sorted({*members(body), *documented}):
                for value in islice(values, 10 if path == "executions" else 1):
                    readable(ours, method, ours.url(path), changed(body, member, value))


def test_malformed_identifiers_are_rejected(ours: Furnished, document: dict[str, Any]) -> None:
    """The texts take turns."""
    identifying = [
        (method, path, member)
        for method, path in BODIES
        for member, schema in members_of(document, method, path).items()
        if schema.get("pattern") in {PATTERN, SEGMENT_PATTERN}
    ]
    assert len(identifying) >= 57
    filters = ("pipelineId", "contractVersion", "releaseVersion")
    identifying += [("POST", "campaigns", f"filters.{name}") for name in filters]
    for (method, path, member), text in zip(identifying, cycle(MALFORMED_IDENTIFIERS), strict=False):
        [error] = ours.rejects(method, ours.url(path), changed(BODIES[method, path], member, text))["errors"]
        assert (error["field"], error["code"]) in {(member, "NOT_IDENTIFIER"), (member, "KEY")}, (text, error)


def test_no_value_in_a_url_makes_an_endpoint_fail(ours: Furnished, subtests: pytest.Subtests) -> None:
    texts = cycle(TEXTS.values())
    for method, path, name in [*named(), ("POST", f"{PIPELINE}/releases", "pipeline_id")]:
        with subtests.test(f"{method} {path}", name=name):
            for text in islice(texts, 2):
                readable(ours, method, ours.url(path, **{name: text or " "}), ours.body(method, path))
