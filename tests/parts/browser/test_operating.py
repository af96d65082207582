import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.e2e.orders import PIPELINE, build_orders
from tests.parts.browser.test_keyboard import tab_to
from tests.parts.browser.test_pages import NARROW
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
    page.get_by_role("link", name="Provenance").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the signed document").click()
    assert download.value.suggested_filename == f"provenance-{accepted['executionId']}.dsse.json"


MOST_CLICKS = 6


class Clicks:
    def __init__(self) -> None:
        self.count = 0

    def on(self, target: Locator) -> None:
        self.count += 1
        target.click()


def open_pipeline(page: Page, clicks: Clicks) -> None:
    page.goto("/admin/")
    clicks.on(page.get_by_role("link", name=PIPELINE, exact=True).first)
    expect(page.get_by_role("heading", name=PIPELINE, level=1)).to_be_visible()


def request_activation(page: Page, clicks: Clicks, reason: str, typed_version: str) -> None:
    """Request the activation on the page that activates a release. The policy asks for one approval."""
    page.get_by_label(f"Type {typed_version} to confirm").fill(typed_version)
    page.get_by_label("Reason").fill(reason)
    clicks.on(page.get_by_role("button", name="Request activation"))
    expect(page.get_by_text("The request waits for 1 approval by other people.")).to_be_visible()
    expect(page.get_by_text("This is your request, so other people must vote on it.")).to_be_visible()


def open_request(page: Page, clicks: Clicks, version: str) -> None:
    page.goto("/admin/")
    clicks.on(page.get_by_role("link", name=re.compile("1 activation request waits for approval")))
    clicks.on(page.get_by_role("link", name=version, exact=True))


def approve(page: Page, comment: str, version: str) -> None:
    """Vote by keyboard. The button says that this vote decides."""
    page.get_by_label("Comment").fill(comment)
    tab_to(page, f"^Approve and activate {version} now$", most=1)
    page.keyboard.press("Enter")
    expect(page.get_by_text("The vote counts. The request is ACTIVATED.")).to_be_visible()


@pytest.mark.timeout(120)
def test_a_breaking_upgrade_is_requested_and_approved(tenant: TenantInUse, log_in: LogIn, tmp_path: Path) -> None:
    first = build_orders(tmp_path, "1.0")
    upgrade = build_orders(tmp_path, "2.0", ("    waits: bool", "    currency: str\n    waits: bool"))
    for release in (first, upgrade):
        tenant.register(release)
        tenant.start_worker(release, f"worker-{tenant.tenant.slug}-{release.version}")
    tenant.activate(first)
    tenant.change_policy(PIPELINE, approvals=1)
    order = {"number": 1, "folder": str(tmp_path)}
    before = tenant.eventually_accepted(PIPELINE, {**order, "waits": True}, "before")

    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    open_pipeline(page, clicks)
    clicks.on(page.get_by_role("link", name="Activate 2.0", exact=True))
    expect(page.get_by_role("heading", name="Pre-flight")).to_be_visible()
    expect(page.get_by_text("1 other person must approve the activation").first).to_be_visible()
    expect(page.get_by_text("breaking-for-callers").first).to_be_visible()
    expect(page.locator("[data-differences]")).to_contain_text("currency")
    expect(page.get_by_role("button", name="Activate 2.0")).to_be_disabled()
    request_activation(page, clicks, "Orders need a currency", "2.0")
    assert tenant.eventually_accepted(PIPELINE, order, "meanwhile")["pin"]["releaseVersion"] == "1.0"

    other = log_in(tenant, Role.TENANT_ADMIN)
    open_request(other, clicks, "2.0")
    expect(other.get_by_text("Release 2.0 is breaking for callers")).to_be_visible()
    expect(other.locator("[data-differences]")).to_contain_text("currency")
    other.set_viewport_size(NARROW)
    approve(other, "The shops send it since Monday", "2.0")
    assert clicks.count <= MOST_CLICKS

    after = tenant.eventually_accepted(PIPELINE, {**order, "currency": "EUR"}, "after")
    (tmp_path / "gate").touch()
    pins = {
        key: tenant.wait_for(made["executionId"], "SUCCEEDED")["pin"]["releaseVersion"]
        for key, made in {"before": before, "after": after}.items()
    }
    assert pins == {"before": "1.0", "after": "2.0"}
    revoke(other, "2.0", "nothing can be submitted to")


def revoke(page: Page, version: str, consequence: str) -> None:
    """Revoke a release by keyboard, after a wrong version."""
    page.get_by_role("link", name=version, exact=True).first.click()
    page.get_by_role("link", name="Pause, revoke, retire").click()
    page.get_by_role("link", name="Revoke this release").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(consequence)).to_be_visible()
    expect(page.locator("[data-callers]")).to_contain_text("1 execution,")
    for typed in ("1.0", version):
        page.get_by_label(f"Type {version} to confirm").fill(typed)
        page.get_by_label("Reason").fill("It charges twice")
        page.keyboard.press("Enter")
    expect(page.get_by_text("is revoked and can never be activated again")).to_be_visible()
