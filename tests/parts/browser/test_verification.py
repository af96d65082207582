"""The verification of a release is visible while it runs, artifact by artifact."""

import json
import threading
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import FilePayload, Page, expect

from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.conftest import World
from tests.maven_repository import maven_repository
from tests.parts.browser.test_uploading import UPLOAD, payload

CONTRACT = making.contract("acme.orders")
DATA = making.archive(CONTRACT, code="2.0")
LATE, NOWHERE = "maven:com.acme:late:bin:1.0", "maven:com.acme:nowhere:bin:1.0"
BYTES = b"bytes that arrive late"


def binary(artifact_id: str, uri: str, data: bytes) -> dict[str, Any]:
    members = {"kind": "native-binary", "uri": uri, "digest": making.digest_of(data)}
    return {"artifactId": artifact_id, **members, "stepIds": [], "capabilities": []}


def verify(release: Release) -> None:
    try:
        verify_release(release.pk)
    finally:
        connection.close()


@pytest.mark.timeout(180)
def test_each_artifact_is_followed_to_the_verdict(page: Page, acme: tuple[World, str], settings: Any) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, "2.0")
    document["artifacts"] += [binary("nowhere", NOWHERE, b"nowhere"), binary("late", LATE, BYTES)]
    files: list[FilePayload] = [payload("app.zip", DATA)]
    page.goto(UPLOAD)
    page.set_input_files("#descriptor", payload("pipeline-release.json", json.dumps(document).encode()))
    page.set_input_files("#artifacts", files)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/change/")
    rows = page.locator("[data-verification] tbody tr")
    for place in range(3):
        expect(rows.nth(place)).to_have_attribute("data-state", "waiting")
    release = Release.objects.get(release_version="2.0")
    with maven_repository() as repository:
        repository.publish(LATE, BYTES)
        repository.configure(settings)
        repository.gate = threading.Event()
        verification = threading.Thread(target=verify, args=[release])
        verification.start()
        try:
            expect(rows.nth(2)).to_have_attribute("data-state", "fetching")
            expect(rows.nth(1)).to_have_attribute("data-state", "rejected")
            expect(rows.nth(1)).to_contain_text("MAVEN_ARTIFACT_MISSING")
            expect(rows.nth(0)).to_have_attribute("data-state", "waiting")
            expect(page.locator("#release-live")).to_have_attribute("data-status", "VERIFYING")
        finally:
            repository.gate.set()
            verification.join(60)
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REJECTED")
    for place, state in enumerate(("verified", "rejected", "verified")):
        expect(rows.nth(place)).to_have_attribute("data-state", state)
    expect(rows.nth(2)).to_contain_text(f"{len(BYTES)}\xa0bytes")
    expect(rows.nth(2).get_by_title(making.digest_of(BYTES))).to_be_visible()
    expect(rows.nth(1)).to_contain_text("ARTIFACT_FILE_MISSING")
    page.get_by_role("link", name="Upload again").click()
    expect(page.locator("div[data-again]")).to_contain_text("Release 2.0 of acme.orders was rejected")
