"""REST of direct uploads."""

import os
from typing import Any

import pytest
import requests

from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from tenancy.models import AuditEntry
from tests import making
from tests.api.tenant_api import TenantApi, refused
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
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
