from pathlib import Path

from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.running import BuiltRelease, TenantInUse


def test_the_page_of_an_execution_shows_a_retry_and_the_result_without_a_reload(
    tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, name: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    tenant.host(v1, f"worker-{name}")
    page = log_in(tenant, Role.OPERATOR)
    work = {"number": 7, "fail_times": 1, "gate": str(gate)}
    accepted = tenant.accepted("tests.pinned", work, "watched")
    page.goto("/admin/executions/execution/")
    page.get_by_role("link", name=accepted["executionId"][:13]).click()
    page.wait_for_url("**/change/")
    page.evaluate("window.neverReloaded = true")
    live = page.locator("#execution-live")
    expect(live).to_have_attribute("data-status", "RUNNING")
    gate.touch()
    expect(live).to_have_attribute("data-status", "SUCCEEDED")
    expect(page.locator("[data-pin]")).to_contain_text("1.0")
    expect(page.locator(".dc-tl-failed.dc-tl-bar")).to_have_count(1)
    expect(page.locator(".dc-tl-retry.dc-tl-bar")).to_have_count(1)
    assert page.evaluate("window.neverReloaded") is True
    page.get_by_role("link", name="Input and result").click()
    expect(page.locator("[data-payload=result]")).to_contain_text("code v1, attempt 1")
