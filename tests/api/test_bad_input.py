"""Invalid requests are rejected with the field and the rule, and change nothing."""

import base64
import json
from typing import Any

import pytest
from django.test import Client

from releases.artifacts.store import artifact_store
from tests import making
from tests.api.tenant_api import ELSEWHERE, ENDPOINTS, TenantApi, everything, fields, file, refused, upload

pytestmark = pytest.mark.django_db
EXECUTIONS, ACTIVATIONS = "executions", "pipelines/{pipeline_id}/activations"
RELEASES = "pipelines/{pipeline_id}/releases"
GOOD: dict[str, dict[str, Any]] = {
    EXECUTIONS: {"pipelineId": making.PIPELINE, "input": {"n": 2}, "idempotencyKey": "second"},
    ACTIVATIONS: {"releaseVersion": "1.0"},
}
takes_json = pytest.mark.parametrize("path", list(GOOD))


def refusal(
    ours: TenantApi, path: str, body: Any, status: int = 400, code: str = "INVALID_REQUEST", **more: Any
) -> Any:
    token = ours.all_scopes
    before = everything()
    document = refused(ours.post(path, body, token=token, **more), status, code)
    assert everything() == before
    assert list(artifact_store().staging.iterdir()) == []
    return document


# --- JSON bodies ---


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "DOCUMENT_NOT_JSON"),
        (b"{}{}", "DOCUMENT_NOT_JSON"),
        (b"{'a': 1}", "DOCUMENT_NOT_JSON"),
        (b'{"a": 1,}', "DOCUMENT_NOT_JSON"),
        (b"\x00", "DOCUMENT_NOT_JSON"),
        (b"null", "DOCUMENT_NOT_OBJECT"),
        (b"[]", "DOCUMENT_NOT_OBJECT"),
        (b'"text"', "DOCUMENT_NOT_OBJECT"),
        (b"\xef\xbb\xbf{}", "DOCUMENT_HAS_BOM"),
        (b'{"a": "\xff"}', "DOCUMENT_NOT_UTF8"),
        ('{"a": "é"}'.encode("utf-16"), "DOCUMENT_NOT_UTF8"),
        (b'{"a": 1, "a": 2}', "DOCUMENT_DUPLICATE_KEY"),
        (b'{"input": {"b": [{"c": 1, "c": 1}]}}', "DOCUMENT_DUPLICATE_KEY"),
        (b'{"input": NaN}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
        (b'{"input": -Infinity}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
        (b'{"input": 1e999}', "DOCUMENT_NUMBER_OUT_OF_RANGE"),
        (b'{"input": ' + b"9" * 5_000 + b"}", "DOCUMENT_NUMBER_OUT_OF_RANGE"),
        (b'{"input": "\\u0000"}', "DOCUMENT_BAD_CHARACTER"),
        (b'{"input": {"\\u0000": 1}}', "DOCUMENT_BAD_CHARACTER"),
        (b'{"input": "\\ud800"}', "DOCUMENT_BAD_CHARACTER"),
        (b'{"input": ' + b"[" * 64 + b"]" * 64 + b"}", "DOCUMENT_TOO_DEEP"),
        (b'{"input": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "DOCUMENT_TOO_DEEP"),
        (b'{"input": [' + b"0," * 100_000 + b"0]}", "DOCUMENT_TOO_MANY_VALUES"),
    ],
)
def test_a_body_that_is_not_a_strict_json_object_is_rejected(ours: TenantApi, body: bytes, code: str) -> None:
    for path in GOOD:
        document = refusal(ours, path, body)
        assert {error["code"] for error in document["errors"]} == {code}


@takes_json
def test_an_empty_body_lacks_every_required_member(ours: TenantApi, path: str) -> None:
    required = dict.fromkeys(GOOD[path], "REQUIRED")
    assert fields(refusal(ours, path, b"{}")) == required
    assert fields(refusal(ours, path, b"")) == required


@takes_json
def test_a_body_above_the_limit_is_rejected(ours: TenantApi, settings: Any, path: str) -> None:
    body = json.dumps({**GOOD[path], "x": "x" * 100}).encode()
    settings.MAX_REQUEST_BYTES = len(body) - 1
    assert refusal(ours, path, body, 413, "PAYLOAD_TOO_LARGE")["limit"] == len(body) - 1
    settings.MAX_REQUEST_BYTES = len(body)
    assert fields(refusal(ours, path, body)) == {"x": "UNKNOWN_MEMBER"}


@takes_json
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "x", ""]
)
def test_another_media_type_is_rejected(ours: TenantApi, path: str, content_type: str) -> None:
    body = json.dumps(GOOD[path]).encode()
    refusal(ours, path, body, 415, "UNSUPPORTED_MEDIA_TYPE", content_type=content_type)


def test_json_instead_of_a_form_is_rejected(ours: TenantApi) -> None:
    refusal(ours, RELEASES, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE")


WRONG: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (EXECUTIONS, {"extra": 1, "Input": 2}, {"Input": "UNKNOWN_MEMBER", "extra": "UNKNOWN_MEMBER"}),
    (EXECUTIONS, {"pipelineId": 1}, {"pipelineId": "NOT_TEXT"}),
    (EXECUTIONS, {"pipelineId": ["a"]}, {"pipelineId": "NOT_TEXT"}),
    (EXECUTIONS, {"pipelineId": None}, {"pipelineId": "NULL"}),
    (EXECUTIONS, {"pipelineId": ""}, {"pipelineId": "BLANK"}),
    (EXECUTIONS, {"pipelineId": " \n"}, {"pipelineId": "BLANK"}),
    (EXECUTIONS, {"pipelineId": "p" * 501}, {"pipelineId": "MAX_LENGTH"}),
    (EXECUTIONS, {"idempotencyKey": True}, {"idempotencyKey": "NOT_TEXT"}),
    (EXECUTIONS, {"idempotencyKey": "k" * 201}, {"idempotencyKey": "MAX_LENGTH"}),
    (EXECUTIONS, {"idempotencyKey": ""}, {"idempotencyKey": "BLANK"}),
    (EXECUTIONS, {"input": None}, {"input": "NULL"}),
    (EXECUTIONS, {"expectedReleaseVersion": 1}, {"expectedReleaseVersion": "NOT_TEXT"}),
    (EXECUTIONS, {"expectedReleaseVersion": ""}, {"expectedReleaseVersion": "BLANK"}),
    (EXECUTIONS, {"pipelineId": 1, "idempotencyKey": 2}, {"pipelineId": "NOT_TEXT", "idempotencyKey": "NOT_TEXT"}),
    (ACTIVATIONS, {"releaseVersion": 1.0}, {"releaseVersion": "NOT_TEXT"}),
    (ACTIVATIONS, {"reason": None}, {"reason": "NULL"}),
    (ACTIVATIONS, {"reason": "r" * 1_001}, {"reason": "MAX_LENGTH"}),
    (ACTIVATIONS, {"operationKey": ""}, {"operationKey": "BLANK"}),
    (ACTIVATIONS, {"operationKey": "k" * 201}, {"operationKey": "MAX_LENGTH"}),
    (ACTIVATIONS, {"expectedReleaseVersion": False}, {"expectedReleaseVersion": "NOT_TEXT"}),
    (ACTIVATIONS, {"actor": "user:root"}, {"actor": "UNKNOWN_MEMBER"}),
]


@pytest.mark.parametrize(("path", "changes", "expected"), WRONG)
def test_each_invalid_member_is_named(
    ours: TenantApi, path: str, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    assert fields(refusal(ours, path, {**GOOD[path], **changes})) == expected


def test_requests_that_a_use_case_rejects_have_specific_codes(ours: TenantApi) -> None:
    def body(**changes: Any) -> dict[str, Any]:
        return {**GOOD[EXECUTIONS], **changes}

    refusal(ours, EXECUTIONS, body(pipelineId="org.example.none"), 404, "PIPELINE_UNKNOWN")
    refusal(ours, EXECUTIONS, body(pipelineId=f" {making.PIPELINE}"), 400, "INVALID_REQUEST")
    refusal(ours, EXECUTIONS, body(idempotencyKey="first"), 409, "IDEMPOTENCY_KEY_REUSED")
    refusal(ours, EXECUTIONS, body(expectedReleaseVersion="0"), 409, "ACTIVE_RELEASE_CHANGED")
    refusal(ours, ACTIVATIONS, {"releaseVersion": "9.9"}, 404, "RELEASE_UNKNOWN")
    refusal(ours, ACTIVATIONS, {"releaseVersion": "1.0", "expectedReleaseVersion": ""}, 409, "ACTIVE_RELEASE_CHANGED")
    contract = making.contract()
    making.upload(ours.tenant, making.descriptor(contract, b"", "3.0"))
    document = refusal(ours, ACTIVATIONS, {"releaseVersion": "3.0"}, 409, "RELEASE_NOT_REGISTERED")
    assert document["releaseStatus"] == "UPLOADED"


# --- URLs and queries ---


@pytest.mark.parametrize(
    "name", ["%00", "a%00b", "%FF", "%F0%9F%98%80", "..", "%2e%2e%2f", "a" * 3_000, "'; DROP TABLE x"]
)
def test_an_unknown_name_of_any_characters_is_a_404(ours: TenantApi, name: str) -> None:
    names = dict.fromkeys(("pipeline_id", "release_version", "execution_id"), name)
    for path in (path for method, path in ENDPOINTS if method == "GET" and "{" in path):
        response = ours.call("GET", ours.url("") + path.format(**names))
        assert response.status_code == 404, path
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] in {"NOT_FOUND", "PIPELINE_UNKNOWN"}, path


@pytest.mark.parametrize("name", ["%00", "1.0%00", "9.9", "1.0/", "%FF"])
def test_an_unknown_release_is_a_404(ours: TenantApi, name: str) -> None:
    response = ours.get(f"pipelines/{making.PIPELINE}/releases/{name}")
    assert (response.status_code, response.json()["code"]) in {(404, "RELEASE_UNKNOWN"), (404, "NOT_FOUND")}


@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/tenants/", "/api/v1/tenants/x/none", "/api/v2/"])
def test_an_unknown_url_returns_a_problem_document(path: str) -> None:
    refused(Client().get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(("method", "path"), list(ENDPOINTS))
def test_unsupported_methods_are_rejected_without_effect(ours: TenantApi, method: str, path: str) -> None:
    token = ours.all_scopes
    before = everything()
    for other in {"POST", "PUT", "PATCH", "DELETE"} - {
        method for method, each in ENDPOINTS | ELSEWHERE if each == path
    }:
        refused(ours.call(other, ours.url(path), {}, token=token), 405, "METHOD_NOT_ALLOWED")
    assert everything() == before


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        *["x", "é", "%00", "=", "%FF%FE"],
        *[cursor(text) for text in ("p=word", "p=\x00", "p=-1e5", "p=", "o=-1", "o=word", "r=word", "p=2026-13-45")],
    ],
)
def test_a_forged_cursor_is_rejected(ours: TenantApi, value: str) -> None:
    for path in (EXECUTIONS, "pipelines", "executions/{execution_id}/events", ACTIVATIONS, "workers"):
        response = ours.get(f"{path}?cursor={value}")
        if response.status_code == 200:
            # A cursor without a position is the first page.
            assert value == cursor("p="), path
        else:
            assert fields(refused(response, 400, "INVALID_REQUEST")) == {"cursor": "INVALID"}, path


@pytest.mark.parametrize("size", ["0", "-1", "word", "1.5", "%00", "501", "+1", "1_0", "%D9%A1", "9" * 5_000])
def test_an_invalid_page_size_is_rejected(ours: TenantApi, size: str) -> None:
    document = refused(ours.get(f"executions?pageSize={size}"), 400, "INVALID_REQUEST")
    assert fields(document) == {"pageSize": "INVALID"}
    assert len(ours.get("executions?pageSize=500").json()["items"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "status"),
        ("status=queued", "status"),
        ("pipelineId=%00", "pipelineId"),
        ("idempotencyKey=a%00b", "idempotencyKey"),
        ("pipelineId=", "pipelineId"),
        ("status=", "status"),
        ("pageSize=", "pageSize"),
        ("cursor=", "cursor"),
        ("pipelineid=org.example.orders", "pipelineid"),
        ("format=json", "format"),
        ("status=QUEUED&%00=1", "\x00"),
    ],
)
def test_an_invalid_filter_is_rejected(ours: TenantApi, query: str, field: str) -> None:
    assert set(fields(refused(ours.get(f"executions?{query}"), 400, "INVALID_REQUEST"))) == {field}


def test_responses_are_available_as_json_only(ours: TenantApi) -> None:
    refused(ours.get("pipelines", headers={"Accept": "text/html"}), 406, "NOT_ACCEPTABLE")


# --- forms ---


def test_a_form_without_a_descriptor_is_rejected(ours: TenantApi) -> None:
    form = upload()
    del form["descriptor"]
    assert fields(refusal(ours, RELEASES, form)) == {"descriptor": "REQUIRED"}


def test_a_descriptor_that_is_not_a_file_is_rejected(ours: TenantApi) -> None:
    form = upload()
    form["descriptor"] = form["descriptor"].read().decode()
    assert fields(refusal(ours, RELEASES, form)) == {"descriptor": "REQUIRED"}


def test_too_many_files_are_rejected(ours: TenantApi, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 3
    refusal(ours, RELEASES, {**upload(), "more": [file(b"1"), file(b"2")]})


def test_too_many_form_fields_are_rejected(ours: TenantApi, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
    refusal(ours, RELEASES, {**upload(), **{f"f{number}": "x" for number in range(4)}})


def test_a_form_with_too_much_text_is_rejected(ours: TenantApi, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    refusal(ours, RELEASES, {**upload(), "text": "x" * 1_001}, 413, "PAYLOAD_TOO_LARGE")


def test_an_artifact_above_the_limit_is_rejected_and_removed(ours: TenantApi, settings: Any) -> None:
    settings.MAX_ARTIFACT_BYTES = 1_000
    form = {"first": file(b"x" * 500), "second": file(b"x" * 1_001), **upload()}
    assert refusal(ours, RELEASES, form, 413, "PAYLOAD_TOO_LARGE")["limit"] == 1_000


def test_a_descriptor_above_the_limit_is_rejected(ours: TenantApi) -> None:
    form = {**upload(), "descriptor": file(b" " * (1024 * 1024 + 1))}
    assert refusal(ours, RELEASES, form, 413, "PAYLOAD_TOO_LARGE")["limit"] == 1024 * 1024


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=" + "x" * 500),
        (
            b'--x\r\nContent-Disposition: form-data; name="descriptor"; filename="d"\r\n\r\n{',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_truncated_form_is_rejected(ours: TenantApi, body: bytes, content_type: str) -> None:
    token = ours.all_scopes
    before = everything()
    response = ours.post(RELEASES, body, token=token, content_type=content_type)
    assert (response.status_code, response.json()["code"]) in {
        (400, "INVALID_REQUEST"),
        (400, "DESCRIPTOR_INVALID"),
        (415, "UNSUPPORTED_MEDIA_TYPE"),
    }
    assert everything() == before
    assert list(artifact_store().staging.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"schemaVersion": 2}, "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
        ({"pipelineId": "org.example.other"}, "DESCRIPTOR_PIPELINE_MISMATCH", "pipelineId"),
        ({"artifacts": []}, "DESCRIPTOR_NO_ARTIFACTS", "artifacts"),
        ({"surprise": 1}, "DESCRIPTOR_UNKNOWN_MEMBER", "surprise"),
        ({"releaseVersion": "a\x00b"}, "DOCUMENT_BAD_CHARACTER", "releaseVersion"),
    ],
)
def test_an_invalid_descriptor_is_rejected_with_the_field(
    ours: TenantApi, changes: dict[str, Any], code: str, field: str
) -> None:
    document = refusal(ours, RELEASES, upload(**changes), 400, "DESCRIPTOR_INVALID")
    assert fields(document) == {f"pipeline-release.json#{field}": code}


def test_other_metadata_for_a_version_is_a_conflict(ours: TenantApi) -> None:
    image = {
        "artifactId": "i",
        "kind": "container-image",
        "uri": "r.example/i@sha256:" + "0" * 64,
        "digest": "sha256:" + "0" * 64,
    }
    refusal(ours, RELEASES, upload("1.0", artifacts=[image]), 409, "RELEASE_CONFLICT")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b", "é😀.zip", "", "n" * 300, '"; drop', "a\nb"])
def test_the_file_name_of_an_upload_has_no_effect(ours: TenantApi, name: str) -> None:
    """The bytes are stored under their digest."""
    form = upload()
    stray = file(b"stray", "x")
    vars(stray)["_name"] = name  # the test client would remove such names
    response = ours.post(RELEASES, {**form, "stray": stray})
    assert response.status_code in {202, 400}
    root = artifact_store().staging.parent
    stored = {path.relative_to(root).parts[0] for path in root.rglob("*")}
    assert stored <= {".artifact-store", "sha256", "staging"}
    assert list(artifact_store().staging.iterdir()) == []
