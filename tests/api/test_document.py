"""The OpenAPI document is complete: every input and output has a type, except values that may be any JSON."""

import re
from collections.abc import Iterator
from typing import Any

# Any JSON: an author's values, and responses to interactions.
ANY_JSON = {
    "ResubmitRequest.input",
    "SubmissionRequest.input",
    "ResultView.result",
    "InteractionView.request",
    "InteractionView.response",
    "CompleteRequest.response",
    "CompletionView.response",
    "ResumeRequest.response",
    "MovedView.before",
    "MovedView.after",
    "SmokeTestRequest.input",
    "SmokeTestRequest.expectedResult",
    "SmokeTestView.expectedResult",
}
# JSON objects whose members are not the API's: documents as they were uploaded, and what an event of its kind records.
ANY_OBJECT = {
    "ReleaseView.contract",
    "ReleaseView.descriptor",
    "ActivationRequestView.policy",
    "AttachmentView.summary",
    "EventView.data",
    "WorkerEventView.data",
    "CampaignEventView.data",
    "AuditEntryView.details",
    "GET attachment 200",
    "GET descriptor 200",
}
WITHOUT_BODY = {
    *("completeUpload", "beatForWorker", "releaseInteraction"),
    *("removeAlertChannel", "removeAlertRule", "testAlertChannel"),
}
WRITING = {"post", "put", "patch"}

Schema = dict[str, Any]


def operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for item in document["paths"].values():
        yield from ((method, each) for method, each in item.items())


def bodies(operation: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Yield each body of a request or response: its name, media type and schema."""
    contents = {"request": operation.get("requestBody", {}).get("content", {})}
    contents |= {status: each.get("content", {}) for status, each in operation["responses"].items()}
    for name, content in contents.items():
        yield from ((name, media_type, each["schema"]) for media_type, each in content.items())


def every_schema(name: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield `schema` and all that it is made of, each with a name; references are not followed."""
    yield name, schema
    for key, each in schema.get("properties", {}).items():
        yield from every_schema(f"{name}.{key}", each)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict) and schema[key]:
            yield from every_schema(f"{name}[]", schema[key])
    for key in ("oneOf", "anyOf", "allOf"):
        for each in schema.get(key, ()):
            # The alternatives of a request's own members only narrow them.
            if "required" not in each:
                yield from every_schema(name, each)


def all_schemas(document: Schema) -> Iterator[tuple[str, Schema]]:
    for name, component in document["components"]["schemas"].items():
        yield from every_schema(name, component)
    for method, operation in operations(document):
        for name, _, schema in bodies(operation):
            yield from every_schema(f"{method.upper()} {operation['operationId']} {name}", schema)
        for parameter in operation.get("parameters", ()):
            yield from every_schema(f"{operation['operationId']}?{parameter['name']}", parameter["schema"])


TYPED = ("$ref", "type", "enum", "const", "oneOf", "anyOf", "allOf")


def test_only_arbitrary_json_has_no_type(document: Schema) -> None:
    assert {name for name, schema in all_schemas(document) if not any(key in schema for key in TYPED)} == ANY_JSON


def test_each_schema_has_one_type_that_a_client_can_be_generated_for(document: Schema) -> None:
    """Generators know one type, or one and null; with others they make a client that refuses some of them."""
    types = {name: schema["type"] for name, schema in all_schemas(document) if isinstance(schema.get("type"), list)}
    assert {name: found for name, found in types.items() if len(set(found) - {"null"}) != 1} == {}


def test_each_object_has_members_and_each_array_items(document: Schema) -> None:
    kinds = [(name, schema, schema.get("type", ())) for name, schema in all_schemas(document)]
    assert [name for name, schema, kind in kinds if "array" in kind and not schema.get("items")] == []
    objects = {name: schema for name, schema, kind in kinds if "object" in kind and not schema.get("properties")}
    free = {name for name, schema in objects.items() if not schema.get("additionalProperties")}
    assert free == ANY_OBJECT
    assert {name for name in free if objects[name].get("additionalProperties") is None} == set()


def test_each_request_and_each_response_has_a_named_type(document: Schema) -> None:
    """A generated client names its classes after the components."""
    unnamed = {
        f"{method.upper()} {operation['operationId']} {name}"
        for method, operation in operations(document)
        for name, _, schema in bodies(operation)
        if schema.keys() != {"$ref"}
    }
    assert unnamed == {
        "GET attachment 200",
        "GET descriptor 200",
        "GET artifact 200",
        "GET artifact 206",
        "GET exportAudit 200",
    }


def test_each_operation_that_writes_documents_its_body(document: Schema) -> None:
    writing = {each["operationId"] for method, each in operations(document) if method in WRITING}
    with_body = {each["operationId"] for _, each in operations(document) if "requestBody" in each}
    assert writing - with_body == WITHOUT_BODY
    assert with_body <= writing


def test_each_operation_documents_its_token_responses_and_errors(document: Schema) -> None:
    for _, operation in operations(document):
        statuses = operation["responses"]
        assert any(status < "300" for status in statuses)
        for status, response in statuses.items():
            assert response["content"]
            if status >= "400":
                [(media, content)] = response["content"].items()
                assert (media, content["schema"]) == (
                    "application/problem+json",
                    {"$ref": "#/components/schemas/Problem"},
                )
                assert response["x-codes"], status
        anonymous = operation["operationId"] == "resume"
        assert statuses.keys() >= ({"406", "500"} if anonymous else {"401", "403", "404", "406", "500"})
        assert anonymous or operation["security"] == [{"bearerToken": []}]
        path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert anonymous or "tenant" in path
        assert operation["description"]


def test_the_document_names_each_operation_and_member_consistently(document: Schema) -> None:
    assert document["openapi"].startswith("3.1")
    identifiers = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers)
    members = {name for _, schema in all_schemas(document) for name in schema.get("properties", ())}
    assert [name for name in members if not re.fullmatch(r"[a-z][a-zA-Z]*", name)] == []


def test_every_component_is_used(document: Schema) -> None:
    used = {schema["$ref"].rsplit("/", 1)[-1] for _, schema in all_schemas(document) if "$ref" in schema}
    assert document["components"]["schemas"].keys() - used == set()
