"""The upload page in a real browser, with hostile descriptors."""

import json

from playwright.sync_api import FilePayload, Page, expect

from tests.admin.conftest import World

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
