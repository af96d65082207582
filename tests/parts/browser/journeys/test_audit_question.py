"""“Who activated 1.1 of orders, and who approved it?” is answered from the overview in four clicks, as a file."""

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.parts.browser.journeys.steps import (
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

OBJECT = f"{PIPELINE}/1.1"
MOST_CLICKS, MOST_CLICKS_FROM_THE_RELEASE = 4, 3


def exported(page: Page, clicks: Clicks) -> list[dict[str, str]]:
    """Export what the page lists, and return the lines of the file."""
    with page.expect_download() as download:
        clicks.on(page.get_by_role("link", name="Export as CSV"))
    with Path(download.value.path()).open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.timeout(120)
def test_who_activated_a_release_and_who_approved_it(tenant: TenantInUse, log_in: LogIn, tmp_path: Path) -> None:
    active(tenant, release(tmp_path, "1.0"))
    newer = release(tmp_path, "1.1")
    tenant.register(newer)
    hosted(tenant, newer)
    tenant.change_policy(PIPELINE, approvals=1)
    manager, auditor = log_in(tenant, Role.RELEASE_MANAGER), log_in(tenant, Role.TENANT_ADMIN)
    open_pipeline(manager, Clicks())
    manager.get_by_role("link", name="Activate", exact=True).click()
    request_activation(manager, Clicks(), "It settles faster")
    open_request(auditor, Clicks(), "1.1")
    approve(auditor, Clicks(), "Measured in staging")

    auditor.goto("/admin/")
    clicks = Clicks()
    clicks.on(auditor.get_by_role("link", name="Audit log"))
    clicks.on(auditor.get_by_role("button", name="Filters"))
    auditor.get_by_role("searchbox", name="By object").fill(OBJECT)
    clicks.on(auditor.get_by_role("button", name="Filter by object"))
    slug = tenant.tenant.slug
    activation = auditor.get_by_role("row").filter(has_text="release.activate")
    expect(activation).to_contain_text(f"user:release-manager-{slug}")
    vote = auditor.get_by_role("row").filter(has_text="activation_request.vote")
    expect(vote).to_contain_text(f"user:tenant-admin-{slug}")
    expect(vote).to_contain_text('decision: "approve"')
    expect(vote).to_contain_text("Measured in staging")
    found = exported(auditor, clicks)
    assert clicks.count <= MOST_CLICKS

    assert all(line["object"] == OBJECT or line["object"].startswith(f"{OBJECT}/") for line in found)
    by_act = {line["act"]: line for line in found}
    assert by_act["release.activate"]["actor"] == f"user:release-manager-{slug}"
    assert by_act["activation_request.create"]["reason"] == "It settles faster"
    assert by_act["activation_request.vote"]["actor"] == f"user:tenant-admin-{slug}"
    assert json.loads(by_act["activation_request.vote"]["details"])["decision"] == "approve"
    request_id = json.loads(by_act["release.activate"]["details"])["request"]
    assert by_act["activation_request.vote"]["object"] == f"{OBJECT}/{request_id}"

    auditor.goto("/admin/")
    shorter = Clicks()
    shorter.on(auditor.get_by_role("link", name="1.1", exact=True).first)
    shorter.on(auditor.get_by_role("link", name="Acts on this release"))
    assert exported(auditor, shorter) == found
    assert shorter.count <= MOST_CLICKS_FROM_THE_RELEASE
