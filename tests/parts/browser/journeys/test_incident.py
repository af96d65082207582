"""An incident, from the overview to its end: understood, rolled back, and the failures run on the good release."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import ORDERS, Clicks, accepted, active, release
from tests.running import TenantInUse

FAULT = '    raise ConnectionError(f"the ledger rejects payment {order.number}")\n'
MOST_CLICKS = 12


@pytest.mark.timeout(240)
def test_an_incident_is_finished_from_the_pages_in_twelve_clicks(
    tenant: TenantInUse, log_in: LogIn, tmp_path: Path
) -> None:
    good = release(tmp_path, "1.0")
    bad = release(tmp_path, "2.0", ORDERS.replace("    return Receipt", f"{FAULT}    return Receipt"))
    for each in (good, bad):
        active(tenant, each)
    for number in range(5):
        payment = accepted(tenant, {"number": number}, f"payment {number}")
        tenant.wait_for(payment["executionId"], "DLQ", seconds=60)

    page, clicks = log_in(tenant, Role.ON_CALL), Clicks()
    page.goto("/admin/")
    clicks.on(page.locator("#attention-failures"))
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("#result_list")).to_contain_text("the ledger rejects payment")
    clicks.on(page.get_by_role("link", name=re.compile("ConnectionError")))
    expect(page.locator("[data-open]")).to_have_text("5")
    group = page.url.partition("?")[0]
    clicks.on(page.get_by_role("link", name="Roll back"))
    page.get_by_label("Reason").fill("2.0 does not book payments")
    clicks.on(page.get_by_role("button", name="Roll back to 1.0"))
    expect(page.locator("body")).to_contain_text("1.0")

    clicks.on(page.get_by_role("link", name="Failures", exact=True))
    clicks.on(page.get_by_role("link", name=re.compile("ConnectionError")))
    assert page.url.partition("?")[0] == group
    expect(page.locator("[data-inactive]")).to_contain_text("Release 1.0 is active.")
    clicks.on(page.get_by_role("link", name="Resubmit on 1.0"))
    clicks.on(page.get_by_role("button", name="Preview"))
    expect(page.locator("[data-count]")).to_have_text("5")
    page.get_by_label("Reason").fill("2.0 does not book payments")
    page.get_by_label("Canary").fill("2")
    page.get_by_label("Maximum rate per minute").fill("600")
    clicks.on(page.get_by_role("button", name=re.compile("^Start")))
    live = page.locator("#campaign-live")
    expect(live).to_have_attribute("data-status", "COMPLETED", timeout=90_000)
    expect(live).to_contain_text("All 5 succeeded.", timeout=60_000)
    assert clicks.count <= MOST_CLICKS
    results = tenant.get("executions?status=SUCCEEDED")["items"]
    assert [each["pin"]["releaseVersion"] for each in results] == ["1.0"] * 5
