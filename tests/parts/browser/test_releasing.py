"""Pages of release managers in a real browser, with every process running."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests import signing
from tests.browsing import LogIn
from tests.running import BuiltRelease, TenantInUse


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


def test_a_release_is_dropped_and_its_signature_required_attached_and_revoked(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    """The manager's unsigned release is refused, and activated once its signature is attached."""
    manager = log_in(tenant, Role.RELEASE_MANAGER)
    manager.get_by_role("link", name="Upload a release").click()
    drop(manager, "#descriptor", v1.descriptor)
    expect(manager.get_by_text(f"pipeline-release.json, {v1.descriptor.stat().st_size}")).to_be_visible()
    drop(manager, "#artifacts", v1.artifact)
    manager.get_by_role("button", name="Upload").click()
    manager.wait_for_url("**/change/")
    release_page = manager.url
    expect(manager.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")
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
    with manager.expect_download() as download:
        manager.locator("[data-attachment=sbom]").get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == files["bom.json"]
    manager.get_by_role("link", name="Activate", exact=True).click()
    manager.wait_for_url("**/activate/")
    manager.fill("#reason", "Signed at last")
    manager.locator("#activate-form button[type=submit]").click()
    manager.wait_for_url("**/releases/pipeline/*/change/")

    admin.goto(key_page)
    admin.locator("[data-revoke] summary").click()
    admin.fill("#revoke-reason", "The build host was broken into")
    admin.get_by_role("button", name="Revoke", exact=True).click()
    expect(admin.get_by_text("Its signatures are no longer trusted. user:")).to_be_visible()
    manager.goto(release_page)
    expect(manager.locator("[data-standing=REVOKED_KEYS]")).to_be_visible()
    expect(manager.locator("tr[data-verdict=KEY_REVOKED]")).to_be_visible()
