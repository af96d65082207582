"""The upload page: accepted and rejected uploads."""

import json
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from releases.models import Blob, Release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases


def files(version: str = "2.0", pipeline_id: str = "acme.orders") -> tuple[bytes, bytes]:
    contract = making.contract(pipeline_id)
    data = making.archive(contract, code=version)
    return json.dumps(making.descriptor(contract, data, version)).encode(), data


def post(client: Client, descriptor: bytes | None, artifacts: Sequence[bytes] = (), **more: Any) -> Any:
    body: dict[str, Any] = {"tenant": "acme", "artifacts": [SimpleUploadedFile("app.zip", data) for data in artifacts]}
    if descriptor is not None:
        body["descriptor"] = SimpleUploadedFile("pipeline-release.json", descriptor)
    return client.post(reverse("admin:releases_release_upload"), {**body, **more})


def left_behind() -> list[str]:
    staging = settings.ARTIFACT_ROOT / "staging"
    return [path.name for path in staging.iterdir()] if staging.exists() else []


def test_an_upload_becomes_a_release_with_its_bytes_in_the_store(log_in: LogIn, acme: World) -> None:
    descriptor, data = files()
    answer = post(log_in("release-manager"), descriptor, [data])
    release = Release.objects.get(release_version="2.0")
    assert answer.status_code == 302
    assert answer["Location"] == reverse("admin:releases_release_change", args=[release.pk])
    assert (release.status, release.uploaded_by) == ("UPLOADED", "user:release-manager")
    assert Blob.objects.get(digest=making.digest_of(data)).size == len(data)
    assert left_behind() == []


def test_a_repeated_upload_changes_nothing_and_displays_that(log_in: LogIn, acme: World) -> None:
    descriptor, data = files()
    client = log_in("release-manager")
    first = post(client, descriptor, [data])
    again = post(client, descriptor, [data])
    assert first["Location"] == again["Location"]
    assert Release.objects.filter(release_version="2.0").count() == 1
    assert "Nothing changed" in client.get(again["Location"]).text


def test_a_rejected_descriptor_shows_all_findings(log_in: LogIn, acme: World) -> None:
    wrong = b'{"schemaVersion": 9, "pipelineId": " ", "artifacts": []}'
    answer = post(log_in("release-manager"), wrong)
    assert answer.status_code == 400
    for code in ("DESCRIPTOR_INVALID", "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "DESCRIPTOR_NO_ARTIFACTS"):
        assert code in answer.text
    assert "pipeline-release.json#schemaVersion" in answer.text


def test_a_different_release_of_the_same_version_is_a_conflict(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    data = making.archive(contract, code="other")
    answer = post(log_in("release-manager"), json.dumps(making.descriptor(contract, data, "1.0")).encode(), [data])
    assert answer.status_code == 409
    assert "RELEASE_CONFLICT" in answer.text
    assert left_behind() == []


def test_a_missing_descriptor_is_reported(log_in: LogIn, acme: World) -> None:
    answer = post(log_in("release-manager"), None, [b"bytes"])
    assert answer.status_code == 400
    assert "Choose a release descriptor" in answer.text
    assert left_behind() == []


def test_a_file_over_the_limit_is_rejected_with_413(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.MAX_ARTIFACT_BYTES = 1000
    descriptor, _ = files()
    answer = post(log_in("release-manager"), descriptor, [b"x" * 200_000])
    assert answer.status_code == 413
    assert "PAYLOAD_TOO_LARGE" in answer.text
    assert left_behind() == []


def test_too_many_files_are_rejected(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    descriptor, data = files()
    answer = post(log_in("release-manager"), descriptor, [data, data, data])
    assert answer.status_code == 400
    assert not Release.objects.filter(release_version="2.0").exists()
    assert left_behind() == []


@cases("who", ["release-manager", "tenant-admin"])
def test_an_upload_to_a_tenant_without_the_right_to_register_is_rejected(
    who: str, log_in: LogIn, globex: World
) -> None:
    descriptor, data = files()
    answer = post(log_in(who), descriptor, [data], tenant="globex")
    assert answer.status_code == 400
    assert not Release.objects.filter(pipeline__tenant=globex.tenant, release_version="2.0").exists()
    assert left_behind() == []


class Untouchable:
    """A request body that must not be read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@cases("who", ["viewer", "operator", "nobody"])
def test_the_body_of_a_user_who_may_not_register_is_not_read(who: str, log_in: LogIn) -> None:
    extra: dict[str, Any] = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": "10000000"}
    answer = log_in(who).generic(
        "POST", reverse("admin:releases_release_upload"), content_type="multipart/form-data; boundary=b", **extra
    )
    assert answer.status_code == 403
    assert left_behind() == []


def test_an_upload_without_a_csrf_token_is_rejected_and_stores_nothing(log_in: LogIn, acme: World) -> None:
    descriptor, data = files()
    client = log_in("release-manager", enforce_csrf_checks=True)
    assert post(client, descriptor, [data]).status_code == 403
    assert not Release.objects.filter(release_version="2.0").exists()
    assert left_behind() == []
    client.get(reverse("admin:releases_release_upload"))
    token = client.cookies["csrftoken"].value
    assert post(client, descriptor, [data], csrfmiddlewaretoken=token).status_code == 302


def test_the_form_offers_only_tenants_in_which_the_user_may_register(log_in: LogIn, acme: World, globex: World) -> None:
    one = log_in("release-manager").get(reverse("admin:releases_release_upload")).text
    assert '<input type="hidden" name="tenant" value="acme">' in one
    assert "globex" not in one
    everywhere = log_in("superuser").get(reverse("admin:releases_release_upload")).text
    assert '<option value="globex">' in everywhere


def test_an_uploaded_contract_document_is_displayed_with_the_release(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    document = json.dumps(making.descriptor(contract, b"", "3.0", kind="container-image")).encode()
    client = log_in("release-manager")
    answer = post(
        client, document, contract=SimpleUploadedFile("pipeline-contract.json", json.dumps(contract).encode())
    )
    release = making.verified(Release.objects.get(release_version="3.0"))
    assert release.contract is not None
    assert "Validate" in client.get(answer["Location"]).text
    assert left_behind() == []


def test_the_page_of_a_new_release_has_no_message_that_becomes_stale(log_in: LogIn, acme: World) -> None:
    descriptor, data = files()
    client = log_in("release-manager")
    page = client.get(post(client, descriptor, [data])["Location"])
    assert list(page.context["messages"]) == []
    assert "The files are in the artifact store. A worker will verify them." in page.text


def test_the_script_of_the_page_gets_the_address_of_the_release(log_in: LogIn, acme: World) -> None:
    descriptor, data = files()
    answer = post(log_in("release-manager", headers={"Accept": "application/json"}), descriptor, [data])
    release = Release.objects.get(release_version="2.0")
    assert (answer.status_code, answer.json()) == (
        201,
        {"location": reverse("admin:releases_release_change", args=[release.pk])},
    )


@cases(
    ("who", "key", "offered"),
    [
        *(("release-manager", "own", True), ("stranger", "own", False)),
        *(("release-manager", "1" * 30, False), ("release-manager", "x", False), ("release-manager", "active", False)),
    ],
)
def test_a_rejected_release_is_uploaded_again(who: str, key: str, offered: bool, log_in: LogIn, acme: World) -> None:
    wrong = making.descriptor(making.contract("acme.orders"), b"missing", "2.0")
    rejected = making.rejected(acme.tenant, wrong, b"other bytes")
    keys = {"own": str(rejected.pk), "active": str(acme.release.pk)}
    client = log_in(who)
    page = client.get(reverse("admin:releases_release_upload"), {"again": keys.get(key, key)})
    assert page.status_code == 200
    assert ("data-again=" in page.text) is offered
    assert ("Release 2.0 of acme.orders was rejected, so you can reuse its version." in page.text) is offered
