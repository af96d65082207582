"""A release gets a growing share of the new executions, next to the active one, until it is promoted."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import PIPELINE, Clicks, accepted, active, hosted, open_pipeline, release
from tests.running import TenantInUse

STEPS = "50 20 10\n90 20 10"
"""Two steps of ten minutes, so that only a person moves on."""
MOST_CLICKS = 5


def run(tenant: TenantInUse, prefix: str, count: int) -> list[str]:
    """Run executions and return the version of the release of each."""
    made = [accepted(tenant, {"number": number}, f"{prefix} {number}") for number in range(count)]
    return [tenant.wait_for(each["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] for each in made]


@pytest.mark.timeout(120)
def test_a_candidate_is_compared_advanced_and_promoted(tenant: TenantInUse, log_in: LogIn, tmp_path: Path) -> None:
    active(tenant, release(tmp_path, "1.0"))
    newer = release(tmp_path, "2.0")
    tenant.register(newer)
    hosted(tenant, newer)
    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    open_pipeline(page, clicks)
    clicks.on(page.get_by_text("Start a gradual activation"))
    expect(page.get_by_role("combobox", name="Candidate")).to_have_value("2.0")
    page.get_by_label("Steps").fill(STEPS)
    clicks.on(page.get_by_role("button", name="Start", exact=True))
    expect(page.get_by_text("gets 50 % of new executions, 1.0 the others.")).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    versions = run(tenant, "half", 30)
    for version in ("1.0", "2.0"):
        ended = f"{version} {versions.count(version)} 0 0.0 %"
        expect(page.get_by_role("row", name=re.compile(f"^{re.escape(ended)}"))).to_be_visible()
    assert set(versions) == {"1.0", "2.0"}
    assert page.evaluate("window.neverReloaded") is True

    clicks.on(page.get_by_role("button", name="Move on to 90 %"))
    expect(page.get_by_text("gets 90 % of new executions, 1.0 the others.")).to_be_visible()
    clicks.on(page.get_by_role("button", name="Promote 2.0"))
    expect(page.get_by_text(f"Release 2.0 is active for new executions of {PIPELINE}.")).to_be_visible()
    assert clicks.count <= MOST_CLICKS
    assert set(run(tenant, "all", 10)) == {"2.0"}
