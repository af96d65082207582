"""Uploads over REST: forms that are invalid, too large or truncated leave nothing, and direct uploads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from releases.artifacts.store import artifact_store
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from tenancy.models import AuditEntry
from tests import making
from tests.api.tenant_api import TenantApi, fields, file, refused, unchanged, upload
from tests.cases import cases
from tests.s3 import S3Place, use_s3

RELEASES = "pipelines/{pipeline_id}/releases"


@contextmanager
def nothing_left() -> Iterator[None]:
    """Assert that the block changes no row and leaves no staged file."""
    with unchanged():
        yield
    assert list(artifact_store().staging.iterdir()) == []


@cases("descriptor", ["missing", "text"])
def test_a_form_needs_a_descriptor_as_a_file(ours: TenantApi, descriptor: str) -> None:
    form = upload()
    content = form.pop("descriptor").read().decode()
    form |= {"descriptor": content} if descriptor == "text" else {}
    with nothing_left():
        assert fields(refused(ours.post(RELEASES, form), 400, "INVALID_REQUEST")) == {"descriptor": "REQUIRED"}
        refused(ours.post(RELEASES, b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_descriptor_above_the_limit_is_rejected(ours: TenantApi) -> None:
    form = {**upload(), "descriptor": file(b" " * (1024 * 1024 + 1))}
    with nothing_left():
        assert refused(ours.post(RELEASES, form), 413, "PAYLOAD_TOO_LARGE")["limit"] == 1024 * 1024


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
    with nothing_left():
        for name, value in limits.items():
            setattr(settings, name, value)
        found = refused(ours.post(RELEASES, {**upload(), **more, **files}), status, code)
        assert "MAX_ARTIFACT_BYTES" not in limits or found["limit"] == 1_000
    for name, value in defaults.items():
        setattr(settings, name, value)


# --- direct uploads ---


DATA = os.urandom(100_000)
DECLARED: dict[str, Any] = {"digest": making.digest_of(DATA), "size": len(DATA)}


@pytest.fixture
def s3(settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)


def test_an_upload_is_started_sent_completed_and_stored(ours: TenantApi, s3: None) -> None:
    before = AuditEntry.objects.count()
    started = ours.post("artifact-uploads", DECLARED)
    assert started.status_code == 201, started.content
    upload = started.json()
    assert started["Location"].endswith(f"/artifact-uploads/{upload['uploadId']}")
    assert (upload["status"], upload["received"], upload["finding"]) == ("OPEN", 0, None)
    [part] = upload["missing"]
    path = f"artifact-uploads/{upload['uploadId']}"
    refused(ours.post(f"{path}/complete", None), 409, "UPLOAD_INCOMPLETE")
    assert requests.put(part["url"], data=DATA, timeout=20).status_code == 200
    assert ours.get(path).json()["received"] == len(DATA)
    for _ in range(2):  # a repeated request changes nothing
        completed = ours.post(f"{path}/complete", None)
        assert (completed.status_code, completed.json()["status"]) == (202, "VERIFYING")
    entries = AuditEntry.objects.order_by("id")[before:]
    assert [entry.act for entry in entries] == ["artifact_upload.begin", "artifact_upload.complete"]
    assert {entry.object for entry in entries} == {upload["uploadId"]}
    direct_uploads.finish(upload["uploadId"])
    assert ours.get(path).json()["status"] == "STORED"
    again = ours.post("artifact-uploads", DECLARED).json()
    assert (again["uploadId"], again["status"], again["missing"]) == (upload["uploadId"], "STORED", [])


def test_a_store_without_direct_uploads_starts_none(ours: TenantApi) -> None:
    refused(ours.post("artifact-uploads", DECLARED), 409, "DIRECT_UPLOADS_UNAVAILABLE")
    assert not ArtifactUpload.objects.exists()
