import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Request, Route, expect

from tests import making
from tests.admin.conftest import World
from tests.parts.browser.conftest import enter
from tests.parts.product.conftest import product_with_own_broker
from tests.product_settings import with_constants
from tests.running import PASSWORD, RunningProduct
from tests.s3 import S3Place, client_of

SIZE = 17 * 2**20


@pytest.mark.timeout(300)
def test_a_large_file_is_resumed(browser: Browser, running: RunningProduct, tmp_path: Path, s3_place: S3Place) -> None:
    contract = making.contract("acme.large")
    large, small = os.urandom(SIZE), making.archive(contract)
    document = making.descriptor(contract, small)
    artifact = {"artifactId": "large", "kind": "native-binary", "uri": "x/large.bin", "digest": making.digest_of(large)}
    document["artifacts"].append(artifact)
    files = {"large.bin": large, "app.zip": small, "pipeline-release.json": json.dumps(document).encode()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    settings = {**s3_place.environment(), **with_constants(UPLOAD_PART_BYTES=5 * 2**20)}
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        person = product.tenant("acme").admin.username
        cors = {"AllowedMethods": ["PUT"], "AllowedOrigins": [product.url], "AllowedHeaders": ["*"]}
        client_of(s3_place).put_bucket_cors(Bucket=s3_place.bucket, CORSConfiguration={"CORSRules": [cors]})
        context = browser.new_context(base_url=product.url)
        context.set_default_timeout(30_000)
        page = context.new_page()
        sent: list[str] = []
        requests: list[Request] = []

        def fail_some(route: Route) -> None:
            sent.append(route.request.url)
            if len(sent) in (2, 3, 4, 5, 6, 7):  # until the page gives up
                route.abort()
            else:
                route.continue_()

        page.route(f"{s3_place.endpoint_url}/**", fail_some)
        page.on("request", lambda request: requests.append(request))
        enter(page, PASSWORD, person)
        page.wait_for_url("**/admin/")
        page.goto("/admin/releases/release/upload/")
        page_url = page.url
        page.set_input_files("#descriptor", str(tmp_path / "pipeline-release.json"))
        page.set_input_files("#artifacts", [str(tmp_path / "large.bin"), str(tmp_path / "app.zip")])
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#direct-status")).to_contain_text("Press Upload to resume", timeout=60_000)
        expect(page.locator("#direct-progress")).to_be_visible()
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/change/", timeout=60_000)
        expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED", timeout=60_000)
        page.get_by_role("link", name="Artifacts").click()
        expect(page.locator("[data-artifacts]")).to_contain_text("17.0")
        parts = [url.partition("partNumber=")[2].partition("&")[0] for url in sent]
        assert parts.count("1") == 1, "a stored part must not be sent again"
        [form] = [request for request in requests if request.method == "POST" and request.url == page_url]
        assert len(small) < form.sizes()["requestBodySize"] < SIZE // 4, "the form must not contain the large file"
        context.close()


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


def test_hostile_descriptors_do_nothing_and_wrong_files_are_not_sent(page: Page, acme: tuple[World, str]) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(UPLOAD)
    for name, content in HOSTILE.items():
        page.set_input_files("#descriptor", payload("pipeline-release.json", content))
        expect(page.locator("#upload-status"), name).not_to_have_text("")
        page.set_input_files("#descriptor", [])
        expect(page.locator("#upload-status"), name).to_have_text("")
    for what, content in {
        "an archive": b"PK",
        "a contract": b'{"steps": []}',
        "a signature": b'{"payloadType": 1}',
    }.items():
        page.set_input_files("#descriptor", payload("pipeline-release.json", content))
        expect(page.locator("#upload-status")).to_contain_text(f"is {what}")
        expect(page.get_by_role("button", name="Upload")).to_be_disabled()
    document = making.descriptor(making.contract("acme.orders"), b"right")
    page.set_input_files("#descriptor", payload("pipeline-release.json", json.dumps(document).encode()))
    for content, says in ((b"wrong", "other bytes"), (b"right", "No files are missing")):
        page.set_input_files("#artifacts", payload(document["artifacts"][0]["uri"].split("/")[-1], content))
        expect(page.locator("#upload-status")).to_contain_text(says)
        expect(page.get_by_role("button", name="Upload")).to_be_enabled(enabled=content == b"right")
    page.set_input_files("#artifacts", [])
    page.set_input_files("#descriptor", payload("pipeline-release.json", HOSTILE["markup"]))
    expect(page.locator("[data-identity]")).to_contain_text(SCRIPT)
    assert page.locator("#upload-plan img").count() == 0
    page.set_input_files("#descriptor", payload("pipeline-release.json", HOSTILE["many"]))
    expect(page.locator("#upload-status")).to_contain_text("4900 more artifacts are not shown")
    assert page.locator("#upload-plan tbody tr").count() == 100
    assert page.evaluate("[window.owned, ({}).owned]") == [None, None]
    assert errors == []
