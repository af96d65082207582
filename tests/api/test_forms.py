"""Uploads of releases: forms that are invalid, too large or truncated change nothing and leave no bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from releases.artifacts.store import artifact_store
from tests.api.tenant_api import TenantApi, everything, fields, file, refused, upload
from tests.cases import cases

pytestmark = pytest.mark.django_db
RELEASES = "pipelines/{pipeline_id}/releases"
IMAGE = {
    "artifactId": "i",
    "kind": "container-image",
    "uri": "r.example/i@sha256:" + "0" * 64,
    "digest": "sha256:" + "0" * 64,
}


@contextmanager
def unchanged() -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before
    assert list(artifact_store().staging.iterdir()) == []


@cases("descriptor", ["missing", "text"])
def test_a_form_needs_a_descriptor_as_a_file(ours: TenantApi, descriptor: str) -> None:
    form = upload()
    content = form.pop("descriptor").read().decode()
    form |= {"descriptor": content} if descriptor == "text" else {}
    with unchanged():
        assert fields(refused(ours.post(RELEASES, form), 400, "INVALID_REQUEST")) == {"descriptor": "REQUIRED"}
        refused(ours.post(RELEASES, b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")


@cases(
    ("limits", "more", "status", "code"),
    [
        ({"DATA_UPLOAD_MAX_NUMBER_FILES": 3}, {"more": [b"1", b"2"]}, 400, "INVALID_REQUEST"),
        ({"DATA_UPLOAD_MAX_NUMBER_FIELDS": 3}, {f"f{n}": "x" for n in range(4)}, 400, "INVALID_REQUEST"),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": 1_000}, {"text": "x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
        ({"MAX_ARTIFACT_BYTES": 1_000}, {"first": b"x" * 500, "second": b"x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_form_beyond_a_limit_is_rejected(
    ours: TenantApi, settings: Any, limits: dict[str, int], more: dict[str, Any], status: int, code: str
) -> None:
    defaults = {name: getattr(settings, name) for name in limits}
    files = {
        name: [file(each) for each in value] if isinstance(value, list) else file(value)
        for name, value in more.items()
        if not isinstance(value, str)
    }
    with unchanged():
        for name, value in limits.items():
            setattr(settings, name, value)
        found = refused(ours.post(RELEASES, {**upload(), **more, **files}), status, code)
        assert "MAX_ARTIFACT_BYTES" not in limits or found["limit"] == 1_000
    for name, value in defaults.items():
        setattr(settings, name, value)


def test_a_descriptor_above_the_limit_is_rejected(ours: TenantApi) -> None:
    form = {**upload(), "descriptor": file(b" " * (1024 * 1024 + 1))}
    with unchanged():
        assert refused(ours.post(RELEASES, form), 413, "PAYLOAD_TOO_LARGE")["limit"] == 1024 * 1024


@cases(
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
    with unchanged():
        response = ours.post(RELEASES, body, content_type=content_type)
    assert (response.status_code, response.json()["code"]) in {
        (400, "INVALID_REQUEST"),
        (400, "DESCRIPTOR_INVALID"),
        (415, "UNSUPPORTED_MEDIA_TYPE"),
    }


@cases(
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
    with unchanged():
        document = refused(ours.post(RELEASES, upload(**changes)), 400, "DESCRIPTOR_INVALID")
    assert fields(document) == {f"pipeline-release.json#{field}": code}


def test_equal_versions_of_two_tenants_are_separate_and_other_metadata_is_a_conflict(
    ours: TenantApi, theirs: TenantApi
) -> None:
    theirs.post(RELEASES, upload("2.0"))
    assert ours.post(RELEASES, upload("2.0", artifacts=[IMAGE])).status_code == 202
    shown = theirs.get(f"{RELEASES}/2.0").json()
    assert shown["artifacts"][0]["kind"] == "local-file"
    with unchanged():
        refused(ours.post(RELEASES, upload("1.0", artifacts=[IMAGE])), 409, "RELEASE_CONFLICT")


@cases("name", ["../../etc/passwd", "a\x00b", "é😀.zip", "", "n" * 300, '"; drop', "a\nb"])
def test_the_file_name_of_an_upload_has_no_effect(ours: TenantApi, name: str) -> None:
    """The bytes are stored under their digest."""
    stray = file(b"stray", "x")
    vars(stray)["_name"] = name  # the test client would remove such names
    response = ours.post(RELEASES, {**upload(), "stray": stray})
    assert response.status_code in {202, 400}
    root = artifact_store().staging.parent
    stored = {path.relative_to(root).parts[0] for path in root.rglob("*")}
    assert stored <= {".artifact-store", "sha256", "staging"}
    assert list(artifact_store().staging.iterdir()) == []
