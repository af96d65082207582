"""The upload page in a real browser: it says which files it wants, and a rejected upload is mended."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tenancy.roles import Role
from tests import making
from tests.admin.conftest import World
from tests.browsing import LogIn
from tests.running import BuiltRelease, TenantInUse

UPLOAD = "/admin/releases/release/upload/"
SCRIPT = "<img src=x onerror=window.owned=1>"
HOSTILE: dict[str, bytes] = {
    "no JSON": b"{",
    "no list": b'{"artifacts": {"length": 1000000000}}',
    "deep": b'{"artifacts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "prototype": b'{"__proto__": {"owned": 1}, "artifacts": [{"__proto__": {"kind": "jar"}, "artifactId": "a"}]}',
    "wrong types": b'{"pipelineId": {}, "releaseVersion": [], "artifacts": [null, 1, "x", [], {"uri": 5, "kind": {}}]}',
    "many": json.dumps({"artifacts": [{"artifactId": "a", "kind": "jar", "uri": "x"}] * 5000}).encode(),
    "markup": json.dumps(
        {
            **{"pipelineId": SCRIPT, "releaseVersion": SCRIPT},
            "artifacts": [{"artifactId": SCRIPT, "kind": "jar", "uri": f"a/{SCRIPT}", "digest": SCRIPT}],
        }
    ).encode(),
}


def payload(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def described(data: bytes, **members: Any) -> bytes:
    return json.dumps({**making.descriptor(making.contract("acme.orders"), data, "2.0"), **members}).encode()


def test_the_page_says_which_files_it_wants(page: Page, acme: tuple[World, str]) -> None:
    data = making.archive(making.contract("acme.orders"))
    page.goto(UPLOAD)
    page.set_input_files("#descriptor", payload("pipeline-release.json", described(data)))
    expect(page.locator("[data-identity]")).to_have_text("Release 2.0 of acme.orders")
    expect(page.locator("#upload-status")).to_have_text("Missing files: app.zip.")
    expect(page.locator("#upload-plan tbody")).to_contain_text(making.digest_of(data))
    page.set_input_files("#artifacts", payload("app.zip", b"other bytes"))
    expect(page.locator("#upload-plan tbody")).to_contain_text("another file: its digest differs")
    expect(page.locator("#upload-status")).to_have_text("Missing files: app.zip.")
    page.set_input_files("#artifacts", [payload("renamed.zip", data), payload("notes.txt", b"notes")])
    expect(page.locator("#upload-status")).to_have_text("No files are missing.")
    expect(page.locator("#upload-plan tbody tr").first).to_contain_text("chosen, digest matches")
    expect(page.locator("#upload-plan tbody tr").last).to_contain_text("belongs to no artifact")


def test_hostile_descriptors_do_nothing(page: Page, acme: tuple[World, str]) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(UPLOAD)
    for name, content in HOSTILE.items():
        page.set_input_files("#descriptor", payload("pipeline-release.json", content))
        expect(page.locator("#upload-status"), name).not_to_have_text("")
        page.set_input_files("#descriptor", [])
        expect(page.locator("#upload-status"), name).to_have_text("")
    page.set_input_files("#descriptor", payload("pipeline-release.json", HOSTILE["markup"]))
    expect(page.locator("[data-identity]")).to_contain_text(SCRIPT)
    assert page.locator("#upload-plan img").count() == 0
    page.set_input_files("#descriptor", payload("pipeline-release.json", HOSTILE["many"]))
    expect(page.locator("#upload-status")).to_contain_text("4900 more artifacts are not shown")
    assert page.locator("#upload-plan tbody tr").count() == 100
    assert page.evaluate("[window.owned, ({}).owned]") == [None, None]
    assert errors == []


def test_a_refused_upload_keeps_the_files(page: Page, acme: tuple[World, str]) -> None:
    page.goto(UPLOAD)
    page.set_input_files("#descriptor", payload("pipeline-release.json", b'{"schemaVersion": 9, "artifacts": []}'))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("[data-problem=DESCRIPTOR_INVALID]")).to_be_focused()
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()
    assert page.evaluate("document.getElementById('descriptor').files.length") == 1


@pytest.mark.timeout(180)
def test_a_rejected_upload_is_mended(tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path) -> None:
    other = tmp_path / v1.artifact.name
    other.write_bytes(b"this is not the artifact")
    page = log_in(tenant, Role.RELEASE_MANAGER)
    page.goto(UPLOAD)
    page.set_input_files("#descriptor", str(v1.descriptor))
    page.set_input_files("#artifacts", str(other))
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/change/")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REJECTED")
    expect(page.locator("body")).not_to_contain_text("A worker will verify")
    page.get_by_role("link", name="Upload again").click()
    expect(page.locator("div[data-again]")).to_contain_text("Release 1.0 of tests.pinned was rejected")
    expect(page.locator("#upload-status")).to_contain_text("Missing files:")
    page.set_input_files("#artifacts", str(v1.artifact))
    expect(page.locator("#upload-status")).to_have_text("No files are missing.")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/change/")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")
