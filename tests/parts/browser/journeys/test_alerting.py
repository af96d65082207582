"""Being told: a channel is added and tested, a rule is added, an alert arrives, is understood and silenced."""

import re

import pytest
from playwright.sync_api import expect

from tenancy.roles import Role
from tests import making
from tests.browsing import LogIn
from tests.building import eventually
from tests.parts.browser.journeys.steps import Clicks
from tests.receiving import receiving
from tests.running import TenantInUse

MOST_CLICKS = 14


@pytest.mark.timeout(240)
def test_a_lost_worker_is_told_to_a_tested_channel_in_fourteen_clicks(tenant: TenantInUse, log_in: LogIn) -> None:
    worker = making.worker(making.active(tenant.tenant), "lost-1")
    page, clicks = log_in(tenant, Role.RELEASE_MANAGER), Clicks()
    with receiving() as receiver:
        clicks.on(page.get_by_role("link", name="Alert channels"))
        clicks.on(page.get_by_role("link", name="Add a channel"))
        page.get_by_label("Name").fill("Operations")
        page.get_by_label("Address").fill(receiver.url(path="/alerts"))
        clicks.on(page.get_by_role("button", name="Add the channel"))
        clicks.on(page.get_by_role("button", name="Send a test message"))
        expect(page.get_by_text("A test message is on its way.")).to_be_visible()
        eventually(lambda: len(receiver.requests) == 1, what="the test message")
        assert receiver.requests[0].json["test"] is True
        page.reload()
        expect(page.locator("[data-deliveries]")).to_contain_text("Sent")

        clicks.on(page.get_by_role("link", name="Alert rules"))
        clicks.on(page.get_by_role("link", name="Add a rule"))
        page.get_by_label("Kind").select_option("workerLost")
        page.get_by_label("Name").fill("Workers")
        page.get_by_label("Minutes").fill("0")
        clicks.on(page.get_by_label("Operations"))
        clicks.on(page.get_by_role("button", name="Add the rule"))
        expect(page.locator("[data-channels]")).to_have_text("Operations")

        making.silence(worker)
        told = eventually(lambda: [each.json for each in receiver.requests[1:]], what="the alert", seconds=90)
        assert [(each["state"], each["title"]) for each in told] == [
            ("FIRING", f"Worker lost-1 of {making.PIPELINE} is silent")
        ]
    operator = log_in(tenant, Role.ON_CALL)
    clicks.on(operator.get_by_role("link", name="Alerts", exact=True))
    clicks.on(operator.get_by_role("link", name=re.compile("Worker lost-1")))
    clicks.on(operator.get_by_role("button", name="Silence"))
    expect(operator.get_by_text("The alert is silenced.")).to_be_visible()
    clicks.on(operator.get_by_role("link", name="See what it is about"))
    expect(operator.get_by_role("heading", name="lost-1", level=1)).to_be_visible()
    assert clicks.count <= MOST_CLICKS
