"""REST of trusted keys, attachments and the signature policy."""

import json
from typing import Any

from tests import signing
from tests.api.tenant_api import TenantApi, file, refused, upload

KEYS = "trusted-keys"
KEY = f"{KEYS}/{signing.key_id()}"
PIPELINE = "pipelines/{pipeline_id}"
RELEASES, RELEASE = f"{PIPELINE}/releases", f"{PIPELINE}/releases/{{release_version}}"
ATTACHMENTS, ACTIVATIONS = f"{PIPELINE}/attachments", f"{PIPELINE}/activations"
NEW = {"name": "ci", "publicKey": signing.public_pem()}


def files(*contents: bytes) -> list[Any]:
    return [file(each, "attached.json") for each in contents]


def signed(ours: TenantApi) -> bytes:
    return signing.envelope(ours.release.descriptor)


def test_a_key_is_added_listed_and_revoked_permanently(ours: TenantApi) -> None:
    made = ours.post(KEYS, NEW)
    assert made.status_code == 201
    key = made.json()
    assert (key["keyId"], key["name"], key["publicKey"], key["revocation"]) == (
        *(signing.key_id(), "ci", signing.public_pem(), None),
    )
    assert key["addedBy"].startswith("token:client-")
    assert ours.get(KEYS).json()["items"] == [key]
    revoked = ours.post(f"{KEY}/revoke", {"reason": "leaked"}).json()
    assert {**revoked, "revocation": None} == key
    assert (revoked["revocation"]["reason"], revoked["revocation"]["actor"]) == ("leaked", key["addedBy"])
    assert ours.post(f"{KEY}/revoke", {"reason": "again"}).json() == revoked
    refused(ours.post(KEYS, NEW), 409, "KEY_CONFLICT")
    assert ours.get(KEYS).json()["items"] == [revoked]


def test_a_signed_release_is_activated_under_the_policy_require(ours: TenantApi) -> None:
    assert ours.patch(PIPELINE, {"signaturePolicy": "require"}).json()["signaturePolicy"] == "require"
    refused(ours.patch(PIPELINE, {"signaturePolicy": "Require"}), 400, "INVALID_REQUEST")
    body, unmet = {"releaseVersion": "1.0"}, {"policy": "require", "standing": "UNSIGNED", "met": False, "signers": []}
    assert refused(ours.post(ACTIVATIONS, body), 409, "SIGNATURE_REQUIRED")["standing"] == "UNSIGNED"
    assert ours.get(RELEASE).json()["trust"] == unmet
    for _ in range(2):
        signature = {"releaseVersion": "1.0", "attachment": files(signed(ours))}
        assert ours.post(ATTACHMENTS, signature).status_code == 200
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


def test_attachments_are_uploaded_listed_and_downloaded_unchanged(ours: TenantApi) -> None:
    form = upload()
    document = json.loads(form["descriptor"].read())
    form["descriptor"].seek(0)
    digest = document["artifacts"][0]["digest"]
    evidence = (signing.statement(digest), signing.spdx(digest=digest))
    sent = [signing.envelope(document), *(json.dumps(each).encode() for each in evidence)]
    made = ours.post(RELEASES, {**form, "attachment": files(*sent)})
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
