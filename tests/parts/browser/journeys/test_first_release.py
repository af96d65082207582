"""The first release of an empty tenant: uploaded, verified, activated and run, in seven clicks."""

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import PIPELINE, Clicks, accepted, hosted, release
from tests.running import TenantInUse
from wire.documents.contract import CONTRACT_ENTRY

MOST_CLICKS = 7


@pytest.mark.timeout(120)
def test_the_first_release_of_a_tenant_is_uploaded_activated_and_run(
    tenant: TenantInUse, log_in: LogIn, tmp_path: Path
) -> None:
    first = release(tmp_path, "1.0")
    contract = tmp_path / "pipeline-contract.json"
    with zipfile.ZipFile(first.artifact) as archive:
        contract.write_bytes(archive.read(CONTRACT_ENTRY))
    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    expect(page.get_by_text("No pipelines yet.")).to_be_visible()
    clicks.on(page.get_by_role("link", name="Upload the first release"))
    expect(page.get_by_role("heading", name="Upload a release", level=1)).to_be_visible()
    page.get_by_label("Release descriptor").set_input_files(first.descriptor)
    page.get_by_label("Artifact files").set_input_files(first.artifact)
    page.get_by_label("Contract document").set_input_files(contract)
    expect(page.get_by_text("No files are missing.")).to_be_visible()
    clicks.on(page.get_by_role("button", name="Upload"))
    expect(page.get_by_text("Verification passed.")).to_be_visible()
    expect(page.get_by_text("so executions cannot be submitted")).to_be_visible()

    clicks.on(page.get_by_role("link", name="Activate", exact=True))
    activates = page.get_by_role("button", name="Activate 1.0")
    expect(activates).to_be_disabled()
    expect(page.get_by_text("pipelines worker --release pipeline-release.json").first).to_be_visible()
    hosted(tenant, first)
    clicks.on(page.get_by_role("link", name="Check again"))
    clicks.on(activates)
    expect(page.get_by_text(f"Release 1.0 is active for new executions of {PIPELINE}.")).to_be_visible()

    execution = accepted(tenant, {"number": 1}, "order 1")
    tenant.wait_for(execution["executionId"], "SUCCEEDED")
    clicks.on(page.get_by_role("link", name="All its executions"))
    expect(page.get_by_role("status").filter(has_text="execution")).to_have_text("1 execution")
    clicks.on(page.get_by_role("link", name=execution["executionId"][:13]))
    expect(page.locator("[data-pin]")).to_contain_text("1.0")
    expect(page.get_by_text("SUCCEEDED").first).to_be_visible()
    assert clicks.count <= MOST_CLICKS
