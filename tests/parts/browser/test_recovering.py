from playwright.sync_api import Page, expect

from tests.admin.conftest import World
from tests.admin.named import named
from tests.parts.browser.test_keyboard import tab_to
from tests.parts.browser.test_pages import NARROW


def test_a_failure_leads_to_the_draft_that_continues_on_the_former_release(page: Page, acme: tuple[World, str]) -> None:
    """By mouse to the page, and by keyboard on a narrow screen from there to the preview and back to the record."""
    rows = named(acme[0])
    page.goto(f"/admin/executions/failuregroup/{rows['group']}/change/")
    page.get_by_role("link", name="Guided recovery").click()
    expect(page.locator("[data-stop]")).to_contain_text("still get release 1.0")
    expect(page.locator("[data-part=failed]")).to_contain_text("DLQ")
    expect(page.locator("[data-verdict=input]")).to_contain_text("No checkpoint is stored")
    expect(page.locator("[data-record]")).to_contain_text("release.activate")
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab_to(page, "Resubmit with the input")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This is a preview. Nothing is done until you start it.")).to_be_visible()
    expect(page.get_by_label("Canary")).to_have_value("5")
    expect(page.get_by_label("Target release version")).to_have_value("0.9")
    page.go_back()
    page.reload()
    expect(page.locator("[data-record]")).to_contain_text("campaign.draft")
    page.goto("/admin/executions/worker/fleet/")
    expect(page.locator("[data-fleet=acme]")).to_contain_text("pipelines worker acme.gradual@2.0")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
