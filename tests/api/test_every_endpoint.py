"""Invalid requests to every endpoint. Each response has a specific code, and nothing changes in the database."""

import base64
import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.conf import settings as configured

from tests import making, signing
from tests.api.populated import populate
from tests.api.tenant_api import ELSEWHERE, ENDPOINTS, TenantApi, everything, fields, refused

# Each test sends hundreds of requests, which takes long on a busy machine.
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
RELEASES = "pipelines/{pipeline_id}/releases"
CAMPAIGN = {"filters": {"pipelineId": making.PIPELINE}, "reason": "fixed", "ratePerMinute": 1}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "executions"): {"pipelineId": making.PIPELINE, "input": {"n": 2}, "idempotencyKey": "second"},
    ("POST", "executions:batch"): {
        "items": [{"pipelineId": making.PIPELINE, "input": {"n": 2}, "idempotencyKey": "second"}]
    },
    ("POST", "pipelines/{pipeline_id}/activations"): {"releaseVersion": "1.0"},
    ("POST", "pipelines/{pipeline_id}/activation-requests"): {"releaseVersion": "1.0", "reason": "faster"},
    ("POST", "pipelines/{pipeline_id}/activation-requests/{request_id}/votes"): {"decision": "approve", "round": 1},
    ("POST", "pipelines/{pipeline_id}/activation-requests/{request_id}/withdrawal"): {"reason": "a mistake"},
    ("POST", "pipelines/{pipeline_id}/revocations"): {"releaseVersion": "1.0", "reason": "a mistake"},
    ("POST", "pipelines/{pipeline_id}/retirements"): {"releaseVersion": "1.0", "reason": "replaced"},
    ("POST", "pipelines/{pipeline_id}/rollback"): {"reason": "a mistake"},
    ("POST", "pipelines/{pipeline_id}/gradual-activations"): {
        "releaseVersion": "0.8",
        "steps": [{"share": 5, "minimumSample": 50, "minimumMinutes": 10}],
    },
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/step"): {"expectedStep": 0},
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/promotion"): {"reason": "good"},
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/withdrawal"): {"reason": "slow"},
    ("PATCH", "pipelines/{pipeline_id}"): {"reasonRequired": True},
    ("POST", "trusted-keys"): {"name": "next", "publicKey": signing.public_pem("next")},
    ("POST", "trusted-keys/{key_id}/revoke"): {"reason": "leaked"},
    ("POST", "executions/{execution_id}/redrive"): {"reason": "fixed"},
    ("POST", "executions/{execution_id}/cancel"): {"reason": "a mistake"},
    ("POST", "executions/{execution_id}/pause"): {"reason": "broken"},
    ("POST", "executions/{execution_id}/resume"): {"reason": "repaired"},
    ("POST", "pipelines/{pipeline_id}/pause"): {"reason": "broken"},
    ("POST", "pipelines/{pipeline_id}/resume"): {"reason": "repaired"},
    ("POST", "executions/{execution_id}/resubmit"): {"reason": "fixed", "releaseVersion": "1.0", "operationKey": "k"},
    ("POST", "pipelines/{pipeline_id}/releases/{release_version}/smoke"): {
        "input": {"n": 1},
        "idempotencyKey": "k",
    },
    ("PUT", "quotas"): {"workers": 5},
    ("PATCH", "failure-groups/{failure_group_id}"): {"acknowledged": True},
    ("POST", "campaigns"): CAMPAIGN,
    ("POST", "campaigns/preview"): {"filters": CAMPAIGN["filters"]},
    ("POST", "campaigns/{campaign_id}/start"): {"reason": "fixed", "ratePerMinute": 1, "from": "input"},
    ("POST", "campaigns/{campaign_id}/discard"): {"reason": "not needed"},
    ("POST", "campaigns/{campaign_id}/pause"): {"reason": "wait"},
    ("POST", "campaigns/{campaign_id}/resume"): {"reason": "continue"},
    ("POST", "campaigns/{campaign_id}/cancel"): {"reason": "enough"},
    ("POST", "interactions/complete"): {"correlationId": "c", "response": {}},
    ("POST", "interactions/{interaction_id}/claim"): {"takeOver": False},
    ("POST", "interactions/{interaction_id}/delegate"): {"to": "eva"},
    ("POST", "workers"): {
        "pipelineId": making.PIPELINE,
        "contractVersion": "c",
        "releaseVersion": "1.0",
        "workerId": "rest-1",
        "endpoint": "http://worker.example",
    },
    ("POST", "workers/{pipeline_id}/{worker_id}/drain"): {"reason": "new disk"},
    ("POST", "workers/{pipeline_id}/{worker_id}/undrain"): {"reason": "new disk"},
    ("POST", "members"): {"username": "eva", "role": "viewer"},
    ("POST", "members/remove"): {"username": "eva", "role": "viewer"},
    ("POST", "artifact-uploads"): {"digest": "sha256:" + "0" * 64, "size": 1},
    ("POST", "alerts/{alert_id}/silence"): {"until": "2030-01-01T00:00:00Z"},
    ("POST", "alert-channels"): {"name": "next", "kind": "webhook", "address": "https://receiver.example/hook"},
    ("PATCH", "alert-channels/{channel_id}"): {"enabled": True},
    ("POST", "alert-rules"): {"name": "next", "kind": "failureRate", "thresholds": {"percent": 30}},
    ("PATCH", "alert-rules/{rule_id}"): {"enabled": True},
    ("POST", "/api/v1/resume"): {"resumeToken": "a.b", "response": {}},
}
"""A well-formed body for each endpoint that accepts JSON."""
EVERY = [*ENDPOINTS | ELSEWHERE, ("POST", "/api/v1/resume")]
LISTS = [
    path
    for method, path in ENDPOINTS | ELSEWHERE
    if method == "GET"
    and path.rsplit("/", 1)[-1]
    in {*("pipelines", "releases", "activations", "executions", "events")}
    | {
        "smoke",
        "gradual-activations",
        "workers",
        "holds",
        "dead-letters",
        "failure-groups",
        "campaigns",
        "items",
        "interactions",
        "trusted-keys",
        "deployments",
        "audit",
        "members",
        "activation-requests",
        *("alerts", "alert-channels", "alert-rules"),
    }
]


class Requests:
    """Sends invalid requests to a tenant with an object of each kind."""

    def __init__(self, ours: TenantApi) -> None:
        self.ours = ours
        self.names = {name: values[-1] for name, values in populate(ours).items()}
        self.token = ours.all_scopes
        self.before = everything()

    def url(self, path: str, **changes: str) -> str:
        if path.startswith("/"):
            return path
        return self.ours.url("") + path.format(**{**self.names, **changes})

    def rejects(
        self, method: str, url: str, body: Any = None, status: int = 400, code: str = "INVALID_REQUEST", **more: Any
    ) -> dict[str, Any]:
        return refused(self.ours.call(method, url, body, token=self.token, **more), status, code)


@pytest.fixture
def here(ours: TenantApi) -> Iterator[Requests]:
    """Requests to a tenant with an object of each kind. A change of any row fails the test."""
    made = Requests(ours)
    yield made
    assert everything() == made.before


@pytest.fixture
def document(here: Requests) -> dict[str, Any]:
    found: dict[str, Any] = here.ours.call("GET", "/api/schema/?format=json").json()
    return found


def test_the_tables_in_this_file_are_complete(document: dict[str, Any]) -> None:
    prefix = "/api/v1/tenants/{tenant}/"
    found = {
        (method.upper(), path.removeprefix(prefix)): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert found.keys() == set(EVERY)
    sending = {
        key for key, each in found.items() if "application/json" in each.get("requestBody", {}).get("content", {})
    }
    assert sending == BODIES.keys()
    pages = {
        key[1] for key, each in found.items() if any(one["name"] == "cursor" for one in each.get("parameters", ()))
    }
    assert pages == set(LISTS)


# --- bodies ---

NO_OBJECTS: list[tuple[bytes, str]] = [
    (b"{", "DOCUMENT_NOT_JSON"),
    (b"{}{}", "DOCUMENT_NOT_JSON"),
    (b"\x00", "DOCUMENT_NOT_JSON"),
    (b"null", "DOCUMENT_NOT_OBJECT"),
    (b"[]", "DOCUMENT_NOT_OBJECT"),
    (b'"text"', "DOCUMENT_NOT_OBJECT"),
    (b"\xef\xbb\xbf{}", "DOCUMENT_HAS_BOM"),
    (b'{"reason": "\xff"}', "DOCUMENT_NOT_UTF8"),
    ('{"reason": "é"}'.encode("utf-16"), "DOCUMENT_NOT_UTF8"),
    (b'{"reason": "a", "reason": "a"}', "DOCUMENT_DUPLICATE_KEY"),
    (b'{"response": NaN}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    (b'{"response": 1e999}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    (b'{"reason": "\\u0000"}', "DOCUMENT_BAD_CHARACTER"),
    (b'{"reason": "\\ud800"}', "DOCUMENT_BAD_CHARACTER"),
    (b'{"response": {"\\u0000": 1}}', "DOCUMENT_BAD_CHARACTER"),
    (b'{"response": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "DOCUMENT_TOO_DEEP"),
    (b'{"response": [' + b"0," * 100_000 + b"0]}", "DOCUMENT_TOO_MANY_VALUES"),
]


def test_a_body_that_is_not_a_strict_json_object_is_rejected_by_every_endpoint(
    here: Requests, subtests: pytest.Subtests
) -> None:
    for (method, path), (body, code) in product(BODIES, NO_OBJECTS):
        with subtests.test(f"{method} {path}", body=body[:50]):
            found = here.rejects(method, here.url(path), body)
            assert {error["code"] for error in found["errors"]} == {code}


def test_a_body_above_the_limit_is_rejected_by_every_endpoint(here: Requests, subtests: pytest.Subtests) -> None:
    for method, path in BODIES:
        limit = configured.MAX_BATCH_BYTES if path.endswith(":batch") else configured.MAX_REQUEST_BYTES
        with subtests.test(f"{method} {path}"):
            body = b'{"reason": "' + b"x" * limit + b'"}'
            found = here.rejects(method, here.url(path), body, 413, "PAYLOAD_TOO_LARGE")
            assert found["limit"] == limit


MEDIA = ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x", ""]


def test_another_media_type_is_rejected(here: Requests, subtests: pytest.Subtests) -> None:
    for ((method, path), body), media in product(BODIES.items(), MEDIA):
        with subtests.test(f"{method} {path}", media=media):
            sent = json.dumps(body).encode()
            here.rejects(method, here.url(path), sent, 415, "UNSUPPORTED_MEDIA_TYPE", content_type=media)


def test_an_unknown_member_is_rejected_by_name(here: Requests, subtests: pytest.Subtests) -> None:
    for (method, path), body in BODIES.items():
        with subtests.test(f"{method} {path}"):
            found = here.rejects(method, here.url(path), {**body, "surprise": 1, "Reason": "x"})
            assert {"surprise": "UNKNOWN_MEMBER", "Reason": "UNKNOWN_MEMBER"}.items() <= fields(found).items()


WRONG: dict[str, Any] = {
    "string": "text",
    "integer": 7,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {"a": 1},
    "null": None,
}


def test_a_member_of_a_wrong_type_is_rejected_by_name(
    here: Requests, document: dict[str, Any], subtests: pytest.Subtests
) -> None:
    """The OpenAPI document defines the types of each member."""
    tried = 0
    for (method, path), body in BODIES.items():
        address = path if path.startswith("/") else f"/api/v1/tenants/{{tenant}}/{path}"
        content = document["paths"][address][method.lower()]["requestBody"]["content"]["application/json"]
        members = resolved(document, content["schema"])["properties"]
        for member, (name, value) in product(members, WRONG.items()):
            if name not in types_of(document, members[member]):
                with subtests.test(f"{method} {path}", member=member, value=value):
                    found = here.rejects(method, here.url(path), {**body, member: value})
                    assert {field.split(".")[0] for field in fields(found)} == {member}
                    tried += 1
    assert tried > 100


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    [reference] = [part["$ref"] for part in [schema, *schema.get("allOf", ())] if "$ref" in part]
    found: dict[str, Any] = document["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    return found


def types_of(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema or "allOf" in schema:
        return types_of(document, resolved(document, schema))
    named = schema.get("type", list(WRONG))
    types = {named} if isinstance(named, str) else set(named)
    types -= types_of(document, schema["not"]) if "not" in schema else set()
    return types | ({"integer"} if "number" in types else set())


# --- URLs ---


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def test_an_unsupported_method_is_rejected(here: Requests, subtests: pytest.Subtests) -> None:
    for path, method in product({path for _, path in EVERY}, METHODS):
        if (method, path) not in EVERY:
            with subtests.test(f"{method} {path}"):
                here.rejects(method, here.url(path), {}, 405, "METHOD_NOT_ALLOWED")


UNKNOWN = {
    "pipeline_id": "PIPELINE_UNKNOWN",
    "release_version": "RELEASE_UNKNOWN",
    "execution_id": "EXECUTION_UNKNOWN",
    "smoke_test_id": "SMOKE_TEST_UNKNOWN",
    "campaign_id": "CAMPAIGN_UNKNOWN",
    "failure_group_id": "FAILURE_GROUP_UNKNOWN",
    "interaction_id": "INTERACTION_UNKNOWN",
    "worker_id": "WORKER_UNKNOWN",
    "upload_id": "UPLOAD_UNKNOWN",
    "request_id": "REQUEST_UNKNOWN",
    "key_id": "KEY_UNKNOWN",
    "digest": "ATTACHMENT_UNKNOWN",
    "artifact_digest": "ARTIFACT_UNKNOWN",
    "descriptor_digest": "DESCRIPTOR_UNKNOWN",
}
NO_ID = "00000000-0000-4000-8000-000000000000"
NAMED = [
    (method, path, name)
    for method, path in EVERY
    for name in UNKNOWN
    if f"{{{name}}}" in path and (method, path) != ("POST", RELEASES)
]
"""Endpoints with a name of an object. An upload is not among them, because it creates an unknown pipeline."""


def code_of(path: str, name: str) -> str:
    return "WORKER_UNKNOWN" if path.startswith("workers/") else UNKNOWN[name]


def test_objects_that_do_not_exist_are_unknown(here: Requests, subtests: pytest.Subtests) -> None:
    for method, path, name in NAMED:
        with subtests.test(f"{method} {path}", name=name):
            url = here.url(path, **{name: NO_ID})
            here.rejects(method, url, BODIES.get((method, path)), 404, code_of(path, name))


def test_objects_of_another_tenant_are_unknown(ours: TenantApi, theirs: TenantApi, subtests: pytest.Subtests) -> None:
    their_release = making.registered(theirs.tenant, "7.0", pipeline_id="org.example.theirs")
    making.worker(theirs.release, "their-worker")
    theirs_key = signing.trusted(theirs.tenant, "theirs").key_id
    others = {
        "key_id": theirs_key,
        "digest": "sha256:" + "0" * 64,
        "artifact_digest": making.registered(theirs.tenant, "8.0").artifacts.get().digest,
        "descriptor_digest": their_release.descriptor_digest,
        "pipeline_id": "org.example.theirs",
        "release_version": "7.0",
        "worker_id": "their-worker",
    }
    names = {**Requests(theirs).names, **others}
    here = Requests(ours)
    for method, path, name in NAMED:
        with subtests.test(f"{method} {path}", name=name):
            url = here.url(path, **{name: names[name]})
            here.rejects(method, url, BODIES.get((method, path)), 404, code_of(path, name))
    assert everything() == here.before


ODD = ["%00", "a%00b", "%FF", "%2e%2e%2f", "%F0%9F%98%80", "a" * 3_000, "%27%3B--", "%0A"]


def test_unknown_names_are_a_404(here: Requests, subtests: pytest.Subtests) -> None:
    for (method, path, name), odd in product(NAMED, ODD):
        with subtests.test(f"{method} {path}", name=name, odd=odd[:20]):
            response = here.ours.call(
                method, here.url(path, **{name: odd}), BODIES.get((method, path)), token=here.token
            )
            assert refused(response, 404, response.json()["code"])["code"] in {"NOT_FOUND", code_of(path, name)}


def test_an_unknown_tenant_is_a_404(here: Requests, subtests: pytest.Subtests) -> None:
    for (method, path), odd in product([*ENDPOINTS, *ELSEWHERE], ["%00", "%FF", "nowhere", "T", "a" * 3_000]):
        with subtests.test(f"{method} {path}", odd=odd[:20]):
            url = here.url(path).replace(here.ours.tenant.slug, odd)
            refused(here.ours.call(method, url, BODIES.get((method, path)), token=here.token), 404, "NOT_FOUND")


def test_every_endpoint_responds_with_json_only(here: Requests, subtests: pytest.Subtests) -> None:
    for method, path in EVERY:
        with subtests.test(f"{method} {path}"):
            body, accept = BODIES.get((method, path)), {"Accept": "text/html"}
            here.rejects(method, here.url(path), body, 406, "NOT_ACCEPTABLE", headers=accept)


# --- queries ---


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


QUERIES = {
    "surprise=1": {"surprise": "UNKNOWN_PARAMETER"},
    "Cursor=x&PAGESIZE=1": {"Cursor": "UNKNOWN_PARAMETER", "PAGESIZE": "UNKNOWN_PARAMETER"},
    "%FF=1": {"\N{REPLACEMENT CHARACTER}": "UNKNOWN_PARAMETER"},
    "format=json": {"format": "UNKNOWN_PARAMETER"},
    "cursor=": {"cursor": "BLANK"},
    "pageSize=": {"pageSize": "BLANK"},
    "pageSize=0": {"pageSize": "INVALID"},
    "pageSize=501": {"pageSize": "INVALID"},
    "pageSize=word": {"pageSize": "INVALID"},
    f"pageSize={'9' * 5_000}": {"pageSize": "INVALID"},
    "cursor=x": {"cursor": "INVALID"},
    "cursor=%FF": {"cursor": "INVALID"},
    f"cursor={cursor('p=word')}": {"cursor": "INVALID"},
    f"cursor={cursor('o=-1')}": {"cursor": "INVALID"},
    f"cursor={cursor('o=word')}": {"cursor": "INVALID"},
}


def test_an_unknown_query_parameter_is_rejected_by_name(here: Requests, subtests: pytest.Subtests) -> None:
    for path, (query, expected) in product(LISTS, QUERIES.items()):
        with subtests.test(path, query=query[:40]):
            assert fields(here.rejects("GET", f"{here.url(path)}?{query}")) == expected


def test_each_filter_rejects_impossible_values(here: Requests, document: dict[str, Any]) -> None:
    tried = 0
    for path in LISTS:
        operation = document["paths"]["/api/v1/tenants/{tenant}/" + path]["get"]
        filters = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "query"}
        for name, schema in filters.items():
            odd = ["", "%00"] + (["nonsense"] if "enum" in schema or schema.get("format") == "uuid" else [])
            for value in odd:
                found = here.rejects("GET", f"{here.url(path)}?{name}={value}")
                assert set(fields(found)) == {name}, (path, name, value)
                tried += 1
    assert tried > 50


# --- outdated expectations ---

SUBMISSION = BODIES["POST", "executions"]
ACTIVATIONS = "pipelines/{pipeline_id}/activations"
STALE: list[tuple[str, dict[str, Any], str]] = [
    ("executions/{execution_id}/redrive", {"expectedVersion": 1}, "VERSION_MISMATCH"),
    ("executions/{execution_id}/redrive", {"expectedVersion": 2**63 - 1}, "VERSION_MISMATCH"),
    (ACTIVATIONS, {"releaseVersion": "1.0", "expectedReleaseVersion": "0"}, "ACTIVE_RELEASE_CHANGED"),
    (ACTIVATIONS, {"releaseVersion": "1.0", "expectedReleaseVersion": ""}, "ACTIVE_RELEASE_CHANGED"),
    ("executions", {**SUBMISSION, "expectedReleaseVersion": "0"}, "ACTIVE_RELEASE_CHANGED"),
    ("executions", {**SUBMISSION, "idempotencyKey": "first"}, "IDEMPOTENCY_KEY_REUSED"),
]


@pytest.mark.parametrize(("path", "body", "code"), STALE)
def test_an_outdated_expectation_is_a_conflict(here: Requests, path: str, body: dict[str, Any], code: str) -> None:
    here.rejects("POST", here.url(path), body, 409, code)


def test_a_cancellation_of_an_older_version_is_a_conflict(here: Requests) -> None:
    live = str(here.ours.execution.pk)
    for version in (0, 2, 2**63 - 1):
        url = here.url("executions/{execution_id}/cancel", execution_id=live)
        found = here.rejects("POST", url, {"expectedVersion": version}, 409, "VERSION_MISMATCH")
        assert found["currentVersion"] == 1
