"""The direct uploads of the upload page's script: only for users who may register releases in the tenant."""

import os
from typing import Any

import pytest
import requests
from django.urls import reverse

from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.s3 import S3Place, use_s3

DATA = os.urandom(1000)
DECLARED = {"digest": making.digest_of(DATA), "size": str(len(DATA))}


@pytest.fixture
def s3(settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)


def address(*parts: object) -> str:
    return reverse("admin:releases_release_upload") + "direct/" + "".join(f"{part}/" for part in parts)


def test_a_file_is_uploaded_and_verified(log_in: LogIn, acme: World, s3: None) -> None:
    client = log_in("release-manager")
    upload = client.post(address("acme"), DECLARED).json()
    [part] = upload["missing"]
    assert requests.put(part["url"], data=DATA, timeout=20).status_code == 200
    there = address("acme", upload["uploadId"])
    assert client.get(there).json()["received"] == len(DATA)
    assert client.post(there).json()["status"] == "VERIFYING"
    direct_uploads.finish(upload["uploadId"])
    assert client.get(there).json()["status"] == "STORED"
    assert ArtifactUpload.objects.get().uploaded_by == "user:release-manager"


@cases(("who", "status"), [("viewer", 403), ("operator", 403), ("stranger", 404), ("nobody", 403)])
def test_a_user_who_may_not_register_gets_an_error(
    who: str, status: int, log_in: LogIn, acme: World, globex: World, s3: None
) -> None:
    upload = log_in("release-manager").post(address("acme"), DECLARED).json()["uploadId"]
    client = log_in(who)
    for method, path in (
        ("post", address("acme")),
        ("get", address("acme", upload)),
        ("post", address("acme", upload)),
    ):
        answer = getattr(client, method)(path, DECLARED)
        assert answer.status_code in (status, 404 if who == "nobody" else status)
        assert upload not in answer.text
    assert [each.status for each in ArtifactUpload.objects.all()] == ["OPEN"]


def test_beginning_an_upload_requires_a_csrf_token(log_in: LogIn, acme: World, s3: None) -> None:
    client = log_in("release-manager", enforce_csrf_checks=True)
    assert client.post(address("acme"), DECLARED).status_code == 403
    assert not ArtifactUpload.objects.exists()


@cases("wrong", [{}, {**DECLARED, "size": "many"}, {**DECLARED, "digest": "x"}, {**DECLARED, "size": "0"}])
def test_an_invalid_declaration_is_rejected(wrong: dict[str, str], log_in: LogIn, acme: World, s3: None) -> None:
    answer = log_in("release-manager").post(address("acme"), wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


def test_the_page_offers_direct_uploads_only_if_the_store_supports_them(
    log_in: LogIn, acme: World, settings: Any
) -> None:
    page = log_in("release-manager").get(reverse("admin:releases_release_upload")).text
    assert "data-direct" not in page
    assert "direct_upload.js" not in page
    answer = log_in("release-manager").post(address("acme"), DECLARED)
    assert (answer.status_code, answer.json()["code"]) == (409, "DIRECT_UPLOADS_UNAVAILABLE")
