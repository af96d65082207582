"""The upload page: accepted and rejected uploads, direct ones of its script, and which tenants it offers."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
import requests
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings

from releases.models import ArtifactUpload, Blob, Release
from releases.registration import direct_uploads
from tests import making, signing
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.s3 import S3Place, use_s3

CONTRACT = making.contract("acme.orders")
DATA = making.archive(CONTRACT, code="2.0")
DOCUMENT = making.descriptor(CONTRACT, DATA, "2.0")
DESCRIPTOR = json.dumps(DOCUMENT).encode()


def file(content: bytes, name: str = "attached.json") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def post(client: Client, descriptor: bytes | None = DESCRIPTOR, artifacts: Sequence[bytes] = (), **more: Any) -> Any:
    body: dict[str, Any] = {"tenant": "acme", "artifacts": [file(data, "app.zip") for data in artifacts]}
    if descriptor is not None:
        body["descriptor"] = file(descriptor, "pipeline-release.json")
    return client.post(to("releases_release_upload"), {**body, **more})


def nothing_left_behind() -> None:
    staging = settings.ARTIFACT_ROOT / "staging"
    assert not staging.exists() or not list(staging.iterdir())


def test_an_upload_becomes_a_release_with_its_bytes_and_attachments_once(manager: Client, acme: World) -> None:
    attached = [file(signing.envelope(DOCUMENT)), file(json.dumps(signing.cyclone()).encode())]
    first = post(manager, artifacts=[DATA], attachment=attached)
    release = Release.objects.get(release_version="2.0")
    assert (first.status_code, first["Location"]) == (302, to("releases_release_change", release))
    assert (release.status, release.uploaded_by) == ("UPLOADED", "user:release-manager")
    assert [each.kind for each in release.attachments.all()] == ["signature", "sbom"]
    assert Blob.objects.get(digest=making.digest_of(DATA)).size == len(DATA)
    assert post(manager, artifacts=[DATA])["Location"] == first["Location"]
    assert Release.objects.filter(release_version="2.0").count() == 1
    nothing_left_behind()


@cases(
    ("descriptor", "artifacts", "changed", "status", "shown"),
    [
        (
            b'{"schemaVersion": 9, "pipelineId": " ", "artifacts": []}',
            *([], {}, 400),
            ["DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "DESCRIPTOR_NO_ARTIFACTS"],
        ),
        (json.dumps({**DOCUMENT, "releaseVersion": "1.0"}).encode(), [DATA], {}, 409, ["RELEASE_CONFLICT"]),
        (None, [b"bytes"], {}, 400, ["Choose a release descriptor"]),
        (DESCRIPTOR, [b"x" * 200_000], {"MAX_ARTIFACT_BYTES": 1000}, 413, ["PAYLOAD_TOO_LARGE"]),
    ],
)
def test_a_rejected_upload_says_why_and_leaves_nothing(
    descriptor: bytes | None,
    artifacts: list[bytes],
    changed: dict[str, int],
    status: int,
    shown: list[str],
    manager: Client,
) -> None:
    with override_settings(**changed):
        answer = post(manager, descriptor, artifacts)
    assert answer.status_code == status
    assert [text for text in shown if text not in answer.text] == []
    assert not Release.objects.filter(release_version="2.0").exists()
    nothing_left_behind()


class Untouchable:
    """A request body that must not be read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


def test_only_who_may_register_in_the_tenant_uploads_and_the_body_of_others_is_not_read(
    log_in: LogIn, manager: Client, globex: World
) -> None:
    for who in ("release-manager", "tenant-admin"):
        assert post(log_in(who), artifacts=[DATA], tenant="globex").status_code == 400
    extra: dict[str, Any] = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": "10000000"}
    for who in ("viewer", "operator", "nobody"):
        body = {"content_type": "multipart/form-data; boundary=b", **extra}
        assert log_in(who).generic("POST", to("releases_release_upload"), **body).status_code == 403
    assert not Release.objects.filter(release_version="2.0").exists()
    nothing_left_behind()
    assert "globex" not in manager.get(to("releases_release_upload")).text


BYTES = os.urandom(1000)
DECLARED = {"digest": making.digest_of(BYTES), "size": str(len(BYTES))}


@pytest.fixture
def s3(settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)


def direct(*parts: object) -> str:
    return to("releases_release_upload") + "direct/" + "".join(f"{part}/" for part in parts)


def test_a_file_is_uploaded_directly_and_verified(log_in: LogIn, manager: Client, globex: World, s3: None) -> None:
    upload = manager.post(direct("acme"), DECLARED).json()
    there = direct("acme", upload["uploadId"])
    for who, status in (("operator", 403), ("stranger", 404)):
        other = log_in(who)
        for answer in (other.post(direct("acme"), DECLARED), other.get(there), other.post(there)):
            assert answer.status_code in {status, 403}
            assert upload["uploadId"] not in answer.text
    assert [each.status for each in ArtifactUpload.objects.all()] == ["OPEN"]
    assert log_in("release-manager", enforce_csrf_checks=True).post(direct("acme"), DECLARED).status_code == 403
    [part] = upload["missing"]
    assert requests.put(part["url"], data=BYTES, timeout=20).status_code == 200
    assert manager.get(there).json()["received"] == len(BYTES)
    assert manager.post(there).json()["status"] == "VERIFYING"
    direct_uploads.finish(upload["uploadId"])
    assert manager.get(there).json()["status"] == "STORED"
    assert ArtifactUpload.objects.get().uploaded_by == "user:release-manager"
    for wrong in ({**DECLARED, "size": "many"}, {**DECLARED, "digest": "x"}):
        answer = manager.post(direct("acme"), wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
