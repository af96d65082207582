"""REST of trusted keys, attachments and the signature policy: permissions, responses and effects."""

import json
from itertools import product
from typing import Any

import pytest
from django.test import Client

from releases.models import Attachment, KeyRevocation, Release, TrustedKey
from tenancy.roles import Scope
from tests import making, signing
from tests.api.tenant_api import TenantApi, fields, file, refused, tenant_api, upload
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
KEYS = "trusted-keys"
KEY = f"{KEYS}/{signing.key_id()}"
RELEASES = "pipelines/{pipeline_id}/releases"
RELEASE = "pipelines/{pipeline_id}/releases/{release_version}"
ATTACHMENTS = "pipelines/{pipeline_id}/attachments"
ACTIVATIONS = "pipelines/{pipeline_id}/activations"
NEW = {"name": "ci", "publicKey": signing.public_pem()}


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture
def ours() -> TenantApi:
    return tenant_api()


def signed(ours: TenantApi, *names: str) -> bytes:
    return signing.envelope(ours.release.descriptor, *names)


def attach(ours: TenantApi, *contents: bytes, version: str = "1.0", **more: Any) -> Any:
    body = {"releaseVersion": version, "attachment": [file(each, "attached.json") for each in contents]}
    url = ours.url(ATTACHMENTS)
    token = more.pop("token", ours.all_scopes)
    return Client().post(url, {**body, **more}, headers={"Authorization": f"Bearer {token}"})


def test_a_key_is_added_listed_and_revoked_permanently(ours: TenantApi) -> None:
    made = ours.post(KEYS, NEW)
    assert made.status_code == 201
    key = made.json()
    assert (key["keyId"], key["name"], key["publicKey"], key["revocation"]) == (
        signing.key_id(),
        "ci",
        signing.public_pem(),
        None,
    )
    assert key["addedBy"].startswith("token:client-")
    assert ours.get(KEYS).json()["items"] == [key]
    revoked = ours.post(f"{KEY}/revoke", {"reason": "leaked"}).json()
    assert {**revoked, "revocation": None} == key
    assert (revoked["revocation"]["reason"], revoked["revocation"]["actor"]) == ("leaked", key["addedBy"])
    assert ours.post(f"{KEY}/revoke", {"reason": "again"}).json() == revoked
    refused(ours.post(KEYS, NEW), 409, "KEY_CONFLICT")
    assert ours.get(KEYS).json()["items"] == [revoked]


@pytest.mark.parametrize(
    ("body", "status", "code", "wrong"),
    [
        ({**NEW, "publicKey": "none"}, 422, "KEY_INVALID", {"publicKey": "KEY"}),
        ({"name": "ci"}, 400, "INVALID_REQUEST", {"publicKey": "REQUIRED"}),
        ({**NEW, "name": "n" * 101}, 400, "INVALID_REQUEST", {"name": "MAX_LENGTH"}),
        ({**NEW, "keyId": "0"}, 400, "INVALID_REQUEST", {"keyId": "UNKNOWN_MEMBER"}),
    ],
)
def test_an_invalid_key_is_rejected(ours: TenantApi, body: Any, status: int, code: str, wrong: dict[str, str]) -> None:
    assert fields(refused(ours.post(KEYS, body), status, code)) == wrong
    assert rows(TrustedKey) == []


def test_a_signed_release_is_activated_under_the_policy_require(ours: TenantApi) -> None:
    policy = ours.call("PATCH", ours.url("pipelines/{pipeline_id}"), {"signaturePolicy": "require"}).json()
    assert policy["signaturePolicy"] == "require"
    body = {"releaseVersion": "1.0"}
    problem = refused(ours.post(ACTIVATIONS, body), 409, "SIGNATURE_REQUIRED")
    assert problem["standing"] == "UNSIGNED"
    assert ours.get(RELEASE).json()["trust"] == {
        "policy": "require",
        "standing": "UNSIGNED",
        "met": False,
        "signers": [],
    }
    assert attach(ours, signed(ours)).status_code == 200
    assert refused(ours.post(ACTIVATIONS, body), 409, "SIGNATURE_REQUIRED")["standing"] == "UNTRUSTED"
    ours.post(KEYS, NEW)
    assert ours.get(RELEASE).json()["trust"] == {
        "policy": "require",
        "standing": "SIGNED",
        "met": True,
        "signers": [{"verdict": "VALID", "keyId": signing.key_id(), "keyName": "ci"}],
    }
    assert ours.post(ACTIVATIONS, body).status_code == 201
    ours.post(f"{KEY}/revoke", {"reason": "leaked"})
    assert refused(ours.post(ACTIVATIONS, body), 409, "SIGNATURE_REQUIRED")["standing"] == "REVOKED_KEYS"
    assert ours.get(RELEASE).json()["trust"]["signers"][0]["verdict"] == "KEY_REVOKED"


@pytest.mark.parametrize("value", ["", "Require", "on", True, 1, [], {}])
def test_an_unknown_signature_policy_is_rejected(ours: TenantApi, value: Any) -> None:
    response = ours.call("PATCH", ours.url("pipelines/{pipeline_id}"), {"signaturePolicy": value})
    assert "signaturePolicy" in fields(refused(response, 400, "INVALID_REQUEST"))
    assert ours.get("pipelines/{pipeline_id}").json()["signaturePolicy"] == "off"


def test_attachments_are_uploaded_listed_and_downloaded_unchanged(ours: TenantApi) -> None:
    form = upload()
    document = json.loads(form["descriptor"].read())
    form["descriptor"].seek(0)
    digest = document["artifacts"][0]["digest"]
    sent = [
        signing.envelope(document),
        json.dumps(signing.statement(digest)).encode(),
        json.dumps(signing.spdx(digest=digest)).encode(),
    ]
    made = ours.post(RELEASES, {**form, "attachment": [file(each, "attached.json") for each in sent]})
    assert made.status_code == 202, made.content
    shown = made.json()["attachments"]
    assert [each["kind"] for each in shown] == ["signature", "provenance", "sbom"]
    assert shown[1]["summary"]["builder"] == "https://ci.example/builder"
    assert (shown[2]["summary"]["format"], shown[2]["summary"]["components"]) == ("SPDX 2.3", 2)
    for content, each in zip(sent, shown, strict=True):
        got = ours.get(f"{ATTACHMENTS}/{each['digest']}")
        assert (got.status_code, got.content) == (200, content)
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["Content-Disposition"].startswith("attachment;")
        assert got.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "DOCUMENT_NOT_JSON"),
        (b"{}", "ATTACHMENT_KIND_UNKNOWN"),
        (signing.envelope({"schemaVersion": 1}), "SIGNATURE_OTHER_DESCRIPTOR"),
        (json.dumps(signing.statement("sha256:" + "0" * 64)).encode(), "PROVENANCE_SUBJECT_UNKNOWN"),
    ],
)
def test_an_invalid_attachment_is_rejected_with_its_findings(ours: TenantApi, content: bytes, code: str) -> None:
    document = refused(attach(ours, signed(ours), content), 400, "ATTACHMENT_INVALID")
    assert code in {error["code"] for error in document["errors"]}
    assert rows(Attachment) == []


@pytest.mark.parametrize(
    ("more", "version", "status", "code"),
    [
        ({"surprise": "1"}, "1.0", 400, "INVALID_REQUEST"),
        ({"artifact": file(b"x")}, "1.0", 400, "INVALID_REQUEST"),
        ({"descriptor": file(b"x")}, "1.0", 400, "INVALID_REQUEST"),
        ({"attachment": []}, "1.0", 400, "INVALID_REQUEST"),
        ({}, "", 400, "INVALID_REQUEST"),
        ({}, "9.9", 404, "RELEASE_UNKNOWN"),
        ({"attachment": [file(b"{}")] * 33}, "1.0", 413, "PAYLOAD_TOO_LARGE"),
        ({"attachment": [file(b" " * 5_000_000), file(b" " * 5_000_000)]}, "1.0", 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_malformed_request_attaches_nothing(
    ours: TenantApi, more: dict[str, Any], version: str, status: int, code: str
) -> None:
    for each in (value for values in more.values() for value in (values if isinstance(values, list) else [values])):
        if not isinstance(each, str):
            each.seek(0)
    refused(attach(ours, signed(ours), version=version, **more), status, code)
    assert rows(Attachment) == []


def test_a_revoked_release_accepts_no_attachments(ours: TenantApi) -> None:
    ours.post("pipelines/{pipeline_id}/revocations", {"releaseVersion": "1.0", "reason": "leaked"})
    refused(attach(ours, signed(ours)), 409, "RELEASE_NOT_REGISTERED")
    assert rows(Attachment) == []


def test_each_operation_of_trust_needs_its_scope(ours: TenantApi) -> None:
    ours.post(KEYS, NEW)
    attach(ours, signed(ours))
    digest = Attachment.objects.get().digest
    operations: dict[Scope, list[Any]] = {
        Scope.READ: [
            lambda token: ours.get(KEYS, token=token),
            lambda token: ours.get(f"{ATTACHMENTS}/{digest}", token=token),
        ],
        Scope.REGISTER: [lambda token: attach(ours, signed(ours, "b"), token=token)],
        Scope.ADMINISTER: [
            lambda token: ours.post(KEYS, {"name": "b", "publicKey": signing.public_pem("b")}, token=token),
            lambda token: ours.post(f"{KEY}/revoke", {"reason": "leaked"}, token=token),
        ],
    }
    for scope, (needed, calls) in product(Scope, operations.items()):
        token = ours.token(scope)
        for call in calls:
            if scope is not needed:
                before = rows(TrustedKey), rows(KeyRevocation), rows(Attachment)
                refused(call(token), 403, "SCOPE_MISSING")
                assert (rows(TrustedKey), rows(KeyRevocation), rows(Attachment)) == before
    for needed, calls in operations.items():
        assert [call(ours.token(needed)).status_code for call in calls] in ([200, 200], [200], [201, 200])


def test_keys_and_attachments_of_another_tenant_are_unknown(ours: TenantApi) -> None:
    ours.post(KEYS, NEW)
    attach(ours, signed(ours))
    theirs = tenant_api()
    making.registered(theirs.tenant, pipeline_id="org.example.theirs")
    digest = Attachment.objects.get().digest
    refused(theirs.post(f"{KEY}/revoke", {"reason": "mine now"}), 404, "KEY_UNKNOWN")
    refused(theirs.get(f"{ATTACHMENTS}/{digest}"), 404, "ATTACHMENT_UNKNOWN")
    assert theirs.get(KEYS).json()["items"] == []
    refused(theirs.call("GET", ours.url(f"{ATTACHMENTS}/{digest}")), 404, "NOT_FOUND")
    assert (rows(KeyRevocation), Release.objects.filter(attachments__digest=digest).get()) == ([], ours.release)
