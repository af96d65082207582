"""A worker is drained for maintenance and gets work again, in six clicks."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import PIPELINE, Clicks, accepted, active, release, worker_of
from tests.running import TenantInUse

MOST_CLICKS = 6


@pytest.mark.timeout(120)
def test_a_worker_finishes_what_it_has_in_hand_and_is_drained(
    tenant: TenantInUse, log_in: LogIn, tmp_path: Path
) -> None:
    worker = worker_of(tenant, active(tenant, release(tmp_path, "1.0")))
    gate = tmp_path / "gate"
    running = accepted(tenant, {"number": 1, "gate": str(gate)}, "running")["executionId"]
    tenant.wait_until_begun(running)

    page, clicks = log_in(tenant, Role.OPERATOR), Clicks()
    clicks.on(page.get_by_role("link", name="Workers that accept executions"))
    expect(page.get_by_role("row", name=f"{PIPELINE} 1.0").first).to_be_visible()
    clicks.on(page.get_by_role("link", name=worker))
    clicks.on(page.get_by_role("link", name="Drain", exact=True))
    page.get_by_label("Reason").fill("Its host gets a new disk")
    clicks.on(page.get_by_role("button", name="Drain", exact=True))
    live = page.locator("#worker-live")
    expect(live).to_have_attribute("data-state", "DRAINING")
    expect(live).to_contain_text("It finishes the 1 execution that it has in hand and accepts no new ones.")
    expect(live).to_contain_text("Its host gets a new disk")
    assert tenant.submit(PIPELINE, {"number": 2}, "refused").status_code == 503

    page.evaluate("window.neverReloaded = true")
    gate.touch()
    tenant.wait_for(running, "SUCCEEDED")
    expect(live).to_have_attribute("data-state", "DRAINED")
    expect(live).to_contain_text("It has nothing in hand and accepts no new executions. It can be stopped.")
    expect(page.locator("body")).not_to_contain_text("It finishes")
    assert page.evaluate("window.neverReloaded") is True

    clicks.on(page.get_by_role("link", name="Undrain", exact=True))
    clicks.on(page.get_by_role("button", name="Undrain", exact=True))
    expect(live).to_have_attribute("data-state", "HEALTHY")
    assert clicks.count <= MOST_CLICKS
    tenant.wait_for(accepted(tenant, {"number": 3}, "after")["executionId"], "SUCCEEDED")
