"""A release gets a growing share of the new executions, next to the active one, until it is promoted or withdrawn."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import PIPELINE, Clicks, accepted, active, hosted, open_pipeline, release
from tests.running import TenantInUse

STEPS = "50 20 10\n90 20 10"
"""Two steps of ten minutes, so that only a person moves on."""
MOST_CLICKS_TO_PROMOTE, MOST_CLICKS_TO_WITHDRAW = 5, 4


@pytest.fixture
def candidate(tenant: TenantInUse, tmp_path: Path) -> None:
    """Release 1.0 is active, and 2.0 is registered. Both have a worker."""
    active(tenant, release(tmp_path, "1.0"))
    newer = release(tmp_path, "2.0")
    tenant.register(newer)
    hosted(tenant, newer)


def start(page: Page, clicks: Clicks) -> None:
    open_pipeline(page, clicks)
    clicks.on(page.get_by_text("Start a gradual activation"))
    expect(page.get_by_role("combobox", name="Candidate")).to_have_value("2.0")
    page.get_by_label("Steps").fill(STEPS)
    clicks.on(page.get_by_role("button", name="Start", exact=True))
    expect(page.get_by_text("gets 50 % of new executions, 1.0 the others.")).to_be_visible()


def run(tenant: TenantInUse, prefix: str, count: int) -> list[str]:
    """Run executions and return the version of the release of each."""
    made = [accepted(tenant, {"number": number}, f"{prefix} {number}") for number in range(count)]
    return [tenant.wait_for(each["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] for each in made]


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("candidate")
def test_a_candidate_is_compared_advanced_and_promoted(tenant: TenantInUse, log_in: LogIn) -> None:
    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    start(page, clicks)
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
    assert clicks.count <= MOST_CLICKS_TO_PROMOTE
    assert set(run(tenant, "all", 10)) == {"2.0"}


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("candidate")
def test_a_candidate_is_withdrawn_and_others_see_it(tenant: TenantInUse, log_in: LogIn) -> None:
    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    start(page, clicks)
    watching = log_in(tenant, Role.ON_CALL)
    open_pipeline(watching, Clicks())
    expect(watching.get_by_role("button", name="Withdraw 2.0")).to_be_visible()
    page.get_by_label("Reason for the withdrawal").fill("The shops complain")
    clicks.on(page.get_by_role("button", name="Withdraw 2.0"))
    expect(page.get_by_text("Release 2.0 was withdrawn: it gets no further executions.")).to_be_visible()
    expect(page.get_by_text(re.compile("Release 2.0 was withdrawn .* The shops complain"))).to_be_visible()
    assert clicks.count <= MOST_CLICKS_TO_WITHDRAW
    expect(watching.get_by_text(re.compile("Release 2.0 was withdrawn .* The shops complain"))).to_be_visible(
        timeout=15_000
    )
    expect(watching.get_by_role("button", name="Withdraw 2.0")).to_have_count(0)
    assert set(run(tenant, "none", 10)) == {"1.0"}
