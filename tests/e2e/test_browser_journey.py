from pathlib import Path

from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests.browsing import AXE, LogIn, browser, findings, log_in
from tests.running import BuiltRelease, TenantInUse

__all__ = ["browser", "log_in"]


def check(page: Page) -> None:
    expect(page.locator("html")).not_to_have_attribute("x-cloak", "")
    page.evaluate(AXE)
    assert not list(findings(page)), page.url


def test_a_release_is_uploaded_activated_and_executed(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, tmp_path: Path
) -> None:
    page = log_in(tenant, Role.TENANT_ADMIN)
    expect(page.get_by_text("No pipelines yet.")).to_be_visible()
    check(page)
    page.get_by_role("link", name="Upload the first release").click()
    page.get_by_label("Release descriptor").set_input_files(v1.descriptor)
    page.get_by_label("Artifact files").set_input_files(v1.artifact)
    check(page)
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#release-live")).to_have_attribute("data-status", "REGISTERED")
    expect(page.get_by_text("Verification passed")).to_be_visible()
    check(page)

    page.get_by_role("link", name="Activate", exact=True).click()
    expect(page.get_by_role("button", name="Activate 1.0")).to_be_disabled()
    tenant.start_worker(v1, f"worker-{tenant.tenant.slug}")
    page.get_by_role("link", name="Check again").click()
    page.fill("#reason", "The first release")
    check(page)
    page.get_by_role("button", name="Activate 1.0").click()
    expect(page.locator("[data-head]")).to_contain_text("The first release")
    check(page)

    gate = tmp_path / "gate"
    work = {"number": 7, "fail_times": 1, "gate": str(gate)}
    execution_id = tenant.eventually_accepted("tests.pinned", work, "order 7")["executionId"]
    page.get_by_role("link", name="All executions of the pipeline").click()
    check(page)
    page.get_by_role("link", name=execution_id[:13]).click()
    expect(page.locator("#execution-live")).to_have_attribute("data-status", "RUNNING")
    page.evaluate("window.neverReloaded = true")
    gate.touch()
    expect(page.locator("#execution-live")).to_have_attribute("data-status", "SUCCEEDED")
    expect(page.locator("[data-pin]")).to_contain_text("1.0")
    for kind in ("failed", "retry"):
        expect(page.locator(f".dc-tl-{kind}.dc-tl-bar")).to_have_count(1)
    assert page.evaluate("window.neverReloaded") is True
    check(page)
    page.get_by_role("link", name="Input and result").click()
    expect(page.locator("#execution-live")).to_contain_text("code v1, attempt 1")
    check(page)
