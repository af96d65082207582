"""Uploads over REST leave nothing if they are refused, and large bodies share a budget of memory."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
import requests
from django.core.files.uploadedfile import SimpleUploadedFile

from foundation.api.bodies import CHUNK_BYTES, LARGE_BYTES, VALUE_BYTES, WAIT_SECONDS, budget, read_body
from foundation.errors import PayloadTooLarge
from releases.artifacts.store import artifact_store
from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from releases.trust.attachments import MAX_ATTACHMENT_VALUES
from tenancy.models import AuditEntry
from tests import making
from tests.api.tenant_api import TenantApi, fields, file, refused, unchanged, upload
from tests.building import eventually
from tests.cases import cases
from tests.raw_sql import raised
from tests.s3 import S3Place, use_s3

RELEASES = "pipelines/{pipeline_id}/releases"


@contextmanager
def nothing_left() -> Iterator[None]:
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
    ({"DATA_UPLOAD_MAX_NUMBER_FILES": 3}, {"more": [b"1", b"2"]}, 400, "INVALID_REQUEST"),
    ({"DATA_UPLOAD_MAX_NUMBER_FIELDS": 3}, {f"f{n}": "x" for n in range(4)}, 400, "INVALID_REQUEST"),
    ({"DATA_UPLOAD_MAX_MEMORY_SIZE": 1_000}, {"text": "x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
    ({"MAX_ARTIFACT_BYTES": 1_000}, {"first": b"x" * 500, "second": b"x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
)
def test_limits_of_a_form(ours: TenantApi, settings: Any, limits: Any, more: Any, status: int, code: str) -> None:
    files = {
        name: [file(content) for content in value] if isinstance(value, list) else file(value)
        for name, value in more.items()
        if not isinstance(value, str)
    }
    with nothing_left():
        for name, value in limits.items():
            setattr(settings, name, value)
        problem = refused(ours.post(RELEASES, {**upload(), **more, **files}), status, code)
        assert "MAX_ARTIFACT_BYTES" not in limits or problem["limit"] == 1_000


DATA = os.urandom(100_000)
DECLARED: dict[str, Any] = {"digest": making.digest_of(DATA), "size": len(DATA)}


def test_an_upload_is_started_sent_completed_and_stored(ours: TenantApi, settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)
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


TEXT = "x" * LARGE_BYTES


def item(key: str, text: str = TEXT) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"text": text}, "idempotencyKey": key}


@pytest.fixture
def spent(settings: Any) -> Iterator[None]:
    """Other requests have reserved the whole budget, and all places to wait are occupied."""
    settings.LARGE_BODIES_BYTES = 1
    assert budget.take(1, "others")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(budget.take, 1, f"other-{number}") for number in range(4)]
        eventually(lambda: budget.waiting == 4, what="others that wait")
        yield
        settings.LARGE_BODIES_BYTES = 5
        budget.give_back(1, "others")
        assert all(future.result() for future in waiting)
    for number in range(4):
        budget.give_back(1, f"other-{number}")


def test_a_large_request_is_rejected_while_the_budget_is_spent(ours: TenantApi, spent: None) -> None:
    token = ours.all_scopes
    large = SimpleUploadedFile("pipeline-release.json", b" " * (LARGE_BYTES + 1))
    batch = {"items": [item("k")]}
    with unchanged():
        for path, body in (("executions", item("k")), (RELEASES, {"descriptor": large}), ("executions:batch", batch)):
            refused(ours.post(path, body, token=token), 503, "LARGE_REQUESTS_BUSY")
    assert ours.post("executions", item("k", "short"), token=token).status_code == 202, "it needs no budget"


def test_a_large_body_counts_its_values_too(ours: TenantApi, settings: Any) -> None:
    settings.LARGE_BODIES_BYTES = LARGE_BYTES + 50_000 * VALUE_BYTES
    assert budget.take(LARGE_BYTES // 2, "others")
    try:
        assert ours.post("executions", item("k")).status_code == 202
        many = item("l") | {"input": {"text": TEXT, "more": [0] * 50_000}}
        refused(ours.post("executions", many), 503, "LARGE_REQUESTS_BUSY")
    finally:
        budget.give_back(LARGE_BYTES // 2, "others")


@cases(("size", "read"), [(6, 6), (7, 7), (50, 7)])
def test_a_bounded_rest_of_a_too_large_body_is_read(settings: Any, size: int, read: int) -> None:
    settings.MAX_REQUEST_BYTES, settings.MAX_BATCH_BYTES = 3 * CHUNK_BYTES, 4 * CHUNK_BYTES
    stream = BytesIO(b"x" * size * CHUNK_BYTES)
    raised(PayloadTooLarge, read_body, stream, settings.MAX_REQUEST_BYTES, "t")
    assert stream.tell() == read * CHUNK_BYTES


def test_the_values_of_all_attachments_together_are_limited(ours: TenantApi) -> None:
    half = b"[" + b"{}," * (MAX_ATTACHMENT_VALUES // 2) + b"{}]"
    files = [SimpleUploadedFile(name, half) for name in ("0.json", "1.json")]
    form = {"descriptor": SimpleUploadedFile("pipeline-release.json", b"{}"), "attachment": files}
    with nothing_left():
        refused(ours.post(RELEASES, form), 413, "PAYLOAD_TOO_LARGE")
    assert budget.taken == 0


def test_a_large_body_is_charged_to_its_tenant(ours: TenantApi, settings: Any) -> None:
    """The tenant has its half of the budget and of the places to wait, so it is refused at once."""
    owner, size = ours.tenant.slug, 2 * LARGE_BYTES
    settings.LARGE_BODIES_BYTES = 2 * size
    assert budget.take(size, owner)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(budget.take, 1, owner) for _ in range(2)]
        eventually(lambda: budget.waiting == 2, what="two that wait")
        began = time.monotonic()
        response = ours.post("executions", item("k"))
        assert time.monotonic() - began < WAIT_SECONDS
        budget.give_back(size, owner)
        assert all(future.result() for future in waiting)
    budget.give_back(2, owner)
    refused(response, 503, "LARGE_REQUESTS_BUSY")
