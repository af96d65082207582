"""Pages of release managers in a real browser, with every process running."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests import making, signing
from tests.browsing import LogIn
from tests.running import BuiltRelease, TenantInUse
from wire.documents.contract import CONTRACT_ENTRY


def upload(page: Page, descriptor: Path, *artifacts: Path) -> None:
    page.goto("/admin/")
    page.get_by_role("link", name="Upload a release").click()
    page.set_input_files("#descriptor", str(descriptor))
    page.set_input_files("#artifacts", [str(artifact) for artifact in artifacts])
    page.get_by_role("button", name="Upload").click()


def register(page: Page, release: BuiltRelease) -> None:
    """Upload a release and wait until the page shows REGISTERED without a reload."""
    upload(page, release.descriptor, release.artifact)
    page.wait_for_url("**/change/")
    page.evaluate("window.neverReloaded = true")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")
    assert page.evaluate("window.neverReloaded") is True


def activate(page: Page, button: str, reason: str) -> None:
    page.get_by_role("link", name=button, exact=True).click()
    page.wait_for_url("**/activate/")
    confirm(page, reason)


def confirm(page: Page, reason: str, typed_version: str = "") -> None:
    """Confirm an activation. `typed_version` is needed for a release that is breaking for callers."""
    page.fill("#reason", reason)
    if typed_version:
        page.fill("#typed-version", typed_version)
    page.locator("#activate-form button[type=submit]").click()
    page.wait_for_url("**/releases/pipeline/*/change/")


def test_upload_verify_activate_and_roll_back(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, v2: BuiltRelease
) -> None:
    page = log_in(tenant, Role.RELEASE_MANAGER)
    register(page, v1)
    expect(page.locator("[data-steps]")).to_contain_text("Settle")
    expect(page.get_by_text("Verification passed")).to_be_visible()
    tenant.change_policy(v1.pipeline_id, workerGate="off")
    activate(page, "Activate", "The first release")

    tenant.change_policy(v1.pipeline_id, workerGate="require")
    register(page, v2)
    page.get_by_role("link", name="Activate", exact=True).click()
    expect(page.locator("[data-differences]")).to_contain_text("Check")
    expect(page.locator("[data-warning=workers]")).to_contain_text("No healthy worker hosts it")
    expect(page.locator("[data-refusing]")).to_contain_text("pipelines worker --release pipeline-release.json")
    expect(page.get_by_role("button", name="Activate 2.0")).to_be_disabled()
    tenant.start_worker(v2, "worker-2")
    page.get_by_role("link", name="Check again").click()
    expect(page.get_by_role("button", name="Activate 2.0")).to_be_enabled()
    confirm(page, "It checks before it settles", "2.0")

    tenant.change_policy(v1.pipeline_id, workerGate="off")
    page.get_by_role("link", name="Roll back", exact=True).click()
    expect(page.get_by_text("rollback", exact=True)).to_be_visible()
    page.fill("#reason", "The check refused too much")
    page.get_by_role("button", name="Roll back to 1.0").click()
    page.wait_for_url("**/releases/pipeline/*/change/")

    rows = page.locator("[data-history] tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text(re.compile(r"3\s+1\.0\s+rollback\s+2\.0\s+user:\S+\s+The check refused", re.I))
    expect(rows.nth(1)).to_contain_text("It checks before it settles")
    expect(rows.nth(2)).to_contain_text("The first release")
    [newest, *_] = tenant.get("pipelines/tests.pinned/activations")["items"]
    assert (newest["releaseVersion"], newest["rollback"]) == ("1.0", True)


def drop(page: Page, target: str, *files: Path) -> None:
    """Drop files of this machine on an element, as a person does with the mouse."""
    page.locator(target).scroll_into_view_if_needed()
    box = page.locator(target).bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def carrying(release: BuiltRelease, folder: Path) -> BuiltRelease:
    """Return the same artifact with a descriptor of the profile `tpf-2026-10`."""
    data = release.artifact.read_bytes()
    with zipfile.ZipFile(release.artifact) as archive:
        contract = json.loads(archive.read(CONTRACT_ENTRY))
    document = making.carrier_descriptor(contract, data, release.version)
    descriptor = folder / "pipeline-release.json"
    descriptor.write_text(json.dumps(document, indent=4))
    return replace(release, descriptor=descriptor, document=document)


def test_a_release_with_a_carrier_is_dropped_verified_and_activated(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    release = carrying(v1, tmp_path)
    page = log_in(tenant, Role.RELEASE_MANAGER)
    page.get_by_role("link", name="Upload a release").click()
    expect(page.get_by_text("URI need not be uploaded")).to_be_visible()
    drop(page, "#descriptor", release.descriptor)
    expect(page.get_by_text(f"pipeline-release.json, {release.descriptor.stat().st_size}")).to_be_visible()
    drop(page, "#artifacts", release.artifact)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/change/")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")

    expect(page.locator("[data-profile]")).to_have_text("tpf-2026-10")
    expect(page.locator("[data-artifacts] tr[data-origin=UPLOADED]")).to_contain_text("carrier")
    with page.expect_download() as download:
        page.locator("[data-descriptor]").get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == release.descriptor.read_bytes()
    tenant.change_policy(release.pipeline_id, workerGate="off")
    activate(page, "Activate", "The first release with a carrier")
    shown = tenant.get(f"pipelines/{release.pipeline_id}/releases/1.0")
    assert (shown["active"], shown["profile"], shown["carrierArtifactId"]) == (True, "tpf-2026-10", "app")


def test_a_file_uri_is_a_warning_and_a_missing_file_a_finding_of_its_profile(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    release = carrying(v1, tmp_path)
    release.document["artifacts"][0]["uri"] = release.artifact.as_uri()
    release.descriptor.write_text(json.dumps(release.document))
    page = log_in(tenant, Role.RELEASE_MANAGER)
    upload(page, release.descriptor)
    page.wait_for_url("**/change/")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REJECTED")
    findings = page.locator("[data-findings] tbody tr")
    expect(findings.filter(has_text="ARTIFACT_NOT_PROMOTABLE")).to_contain_text("warning")
    expect(findings.filter(has_text="ARTIFACT_FILE_MISSING")).to_contain_text("profile tpf-2026-10: the bytes")
    expect(page.locator("[data-origin=MISSING]")).to_contain_text("missing")


def test_a_rejected_release_shows_its_findings(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    other = tmp_path / "another.zip"
    other.write_bytes(b"this is not the artifact")
    page = log_in(tenant, Role.RELEASE_MANAGER)
    upload(page, v1.descriptor, other)
    page.wait_for_url("**/change/")
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REJECTED")
    expect(page.locator("[data-findings]")).to_contain_text("UPLOAD_MATCHES_NO_ARTIFACT")
    expect(page.locator("[data-findings]")).to_contain_text("another.zip")
    expect(page.get_by_role("link", name="Activate", exact=True)).to_have_count(0)


def test_an_invalid_descriptor_is_rejected_with_every_finding(
    tenant: TenantInUse, log_in: LogIn, tmp_path: Path
) -> None:
    descriptor = tmp_path / "pipeline-release.json"
    descriptor.write_text(json.dumps({"schemaVersion": 9, "pipelineId": "", "artifacts": []}))
    page = log_in(tenant, Role.RELEASE_MANAGER)
    upload(page, descriptor)
    findings = page.locator("[data-problem=DESCRIPTOR_INVALID] [data-findings] tbody tr")
    expect(findings.filter(has_text="DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED")).to_be_visible()
    expect(findings.filter(has_text="DESCRIPTOR_NO_ARTIFACTS")).to_be_visible()


def test_an_outdated_activation_is_rejected_and_shows_the_current_release(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, v2: BuiltRelease
) -> None:
    page = log_in(tenant, Role.RELEASE_MANAGER)
    register(page, v1)
    tenant.start_worker(v1, "worker-1")
    page.get_by_role("link", name="Activate", exact=True).click()
    page.wait_for_url("**/activate/")
    tenant.register(v2)
    tenant.activate(v2)
    page.get_by_role("button", name="Activate 1.0").click()
    expect(page.locator("[data-problem=ACTIVE_RELEASE_CHANGED]")).to_be_visible()
    expect(page.get_by_role("button", name="Activate 1.0")).to_be_visible()
    [only] = tenant.get("pipelines/tests.pinned/activations")["items"]
    assert only["releaseVersion"] == "2.0"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_people_without_permission_see_neither_buttons_nor_pages_for_releases(
    role: Role, tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    page = log_in(tenant, role)
    expect(page.get_by_role("link", name="Upload a release")).to_have_count(0)
    page.goto("/admin/releases/release/")
    page.get_by_role("link", name="1.0", exact=True).click()
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")
    expect(page.get_by_role("link", name="Activate", exact=True)).to_have_count(0)
    for address in (page.url.replace("/change/", "/activate/"), "/admin/releases/release/upload/"):
        refused = page.goto(address)
        assert refused is not None
        assert refused.status == 403
        expect(page.get_by_role("heading", name="Permission denied")).to_be_visible()


def test_another_tenants_pages_do_not_exist(
    tenant: TenantInUse, neighbour: TenantInUse, log_in: LogIn, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    page = log_in(tenant, Role.VIEWER)
    page.goto("/admin/releases/release/")
    page.get_by_role("link", name="1.0", exact=True).click()
    page.wait_for_url("**/change/")
    address = page.url
    stranger = log_in(neighbour, Role.TENANT_ADMIN)
    for each in (address, address.replace("/change/", "/activate/"), address.replace("/change/", "/status/")):
        response = stranger.goto(each)
        assert response is not None
        assert response.status == 404
        assert tenant.tenant.slug not in stranger.content()
    stranger.goto("/admin/releases/release/")
    expect(stranger.locator("body")).not_to_contain_text("tests.pinned")


def test_a_signature_is_required_attached_and_revoked(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    """An administrator requires signatures and trusts a key. The manager's unsigned release is rejected, and activated
    once its signature is attached. After the key is revoked, the release is flagged.
    """
    manager = log_in(tenant, Role.RELEASE_MANAGER)
    register(manager, v1)
    release_page = manager.url
    tenant.change_policy(v1.pipeline_id, workerGate="off")
    expect(manager.locator("[data-standing=UNSIGNED]")).to_be_visible()

    admin = log_in(tenant, Role.TENANT_ADMIN)
    admin.get_by_role("link", name="Trusted keys").click()
    admin.get_by_role("link", name="Trust a key").click()
    admin.fill("#id_name", "CI 2026")
    admin.fill("#id_public_key", signing.public_pem())
    admin.get_by_role("button", name="Trust the key").click()
    expect(admin.get_by_text(signing.key_id())).to_be_visible()
    key_page = admin.url
    manager.get_by_role("link", name="Activate", exact=True).click()
    manager.wait_for_url("**/activate/")
    admin.goto("/admin/releases/pipeline/")
    admin.get_by_role("link", name=v1.pipeline_id, exact=True).click()
    admin.get_by_text("Change the policy").click()
    admin.select_option("#signature_policy", "require")
    admin.get_by_role("button", name="Save policy").click()
    expect(admin.get_by_text("was saved")).to_be_visible()

    manager.get_by_role("button", name="Activate 1.0").click()
    expect(manager.locator("[data-problem=SIGNATURE_REQUIRED]")).to_be_visible()
    expect(manager.locator("[data-refusing]")).to_contain_text("Unsigned.")
    expect(manager.get_by_role("button", name="Activate 1.0")).to_be_disabled()

    files = {
        "pipeline-release.dsse.json": signing.envelope(v1.document),
        "build.intoto.json": json.dumps(signing.statement(v1.document["artifacts"][0]["digest"])).encode(),
        "bom.json": json.dumps(signing.cyclone()).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    manager.goto(release_page)
    manager.locator("[data-attach] summary").click()
    manager.set_input_files("[data-attach] input[type=file]", [str(tmp_path / name) for name in files])
    manager.get_by_role("button", name="Attach", exact=True).click()
    expect(manager.locator("[data-signers] tr[data-verdict=VALID]")).to_contain_text("CI 2026")
    expect(manager.locator("[data-attachment=provenance]")).to_contain_text("https://ci.example/builder")
    expect(manager.locator("[data-attachment=sbom]")).to_contain_text("CycloneDX 1.6")
    with manager.expect_download() as download:
        manager.locator("[data-attachment=sbom]").get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == files["bom.json"]
    activate(manager, "Activate", "Signed at last")

    admin.goto(key_page)
    admin.locator("[data-revoke] summary").click()
    admin.fill("#revoke-reason", "The build host was broken into")
    admin.get_by_role("button", name="Revoke", exact=True).click()
    expect(admin.get_by_text("Its signatures are no longer trusted. user:")).to_be_visible()
    manager.goto(release_page)
    expect(manager.locator("[data-standing=REVOKED_KEYS]")).to_be_visible()
    expect(manager.locator("tr[data-verdict=KEY_REVOKED]")).to_be_visible()
    manager.get_by_role("link", name="Open").click()
    expect(manager.locator("[data-trust]")).to_contain_text("only by revoked keys")
