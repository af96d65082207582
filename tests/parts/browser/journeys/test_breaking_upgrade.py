"""A breaking upgrade: seen before it happens, requested by one person, and approved by another, in eight clicks."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import (
    BREAKING,
    PIPELINE,
    Clicks,
    active,
    approve,
    hosted,
    open_pipeline,
    open_request,
    release,
    request_activation,
)
from tests.running import TenantInUse

MOST_CLICKS = 8


@pytest.mark.timeout(120)
def test_a_breaking_upgrade_is_requested_and_approved(tenant: TenantInUse, log_in: LogIn, tmp_path: Path) -> None:
    active(tenant, release(tmp_path, "1.0"))
    upgrade = release(tmp_path, "2.0", BREAKING)
    tenant.register(upgrade)
    hosted(tenant, upgrade)
    tenant.change_policy(PIPELINE, approvals=1)
    gate = tmp_path / "gate"
    before = tenant.eventually_accepted(PIPELINE, {"number": 1, "gate": str(gate)}, "before")

    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    open_pipeline(page, clicks)
    clicks.on(page.get_by_role("link", name="Activate", exact=True))
    expect(page.get_by_role("heading", name="Pre-flight")).to_be_visible()
    expect(page.get_by_text("1 other person must approve the activation").first).to_be_visible()
    expect(page.get_by_text("breaking-for-callers").first).to_be_visible()
    expect(page.locator("[data-differences]")).to_contain_text("currency")
    expect(page.get_by_role("button", name="Activate 2.0")).to_be_disabled()
    request_activation(page, clicks, "Orders need a currency", typed_version="2.0")
    assert tenant.eventually_accepted(PIPELINE, {"number": 2}, "meanwhile")["pin"]["releaseVersion"] == "1.0"

    other = log_in(tenant, Role.TENANT_ADMIN)
    open_request(other, clicks, "2.0")
    expect(other.get_by_text("Release 2.0 is breaking for callers")).to_be_visible()
    clicks.on(other.get_by_role("link", name="Pre-flight"))
    expect(other.locator("[data-differences]")).to_contain_text("currency")
    clicks.on(other.get_by_role("link", name="Open the request"))
    approve(other, clicks, "The shops send it since Monday")
    assert clicks.count <= MOST_CLICKS

    after = tenant.eventually_accepted(PIPELINE, {"number": 3, "currency": "EUR"}, "after")
    gate.touch()
    pins = {
        key: tenant.wait_for(made["executionId"], "SUCCEEDED")["pin"]["releaseVersion"]
        for key, made in {"before": before, "after": after}.items()
    }
    assert pins == {"before": "1.0", "after": "2.0"}
