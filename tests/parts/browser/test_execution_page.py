"""The page of one execution in a browser: its live part keeps the focus."""

from playwright.sync_api import Page, expect

from executions.holds import holds
from tests.admin.conftest import World


def test_the_live_part_keeps_the_focus_and_what_was_opened(page: Page, acme: tuple[World, str]) -> None:
    execution = acme[0].execution
    page.goto(f"/admin/executions/execution/{execution.pk}/change/")
    live = page.locator("#execution-live")
    address = live.get_attribute("hx-get")
    page.locator("#timeline-table summary").click()
    page.locator("#act-cancel a").focus()
    for change in (holds.pause, holds.resume):
        change(execution, actor="user:ann", reason="because")
        expect(live).not_to_have_attribute("hx-get", address or "")
        address = live.get_attribute("hx-get")
        assert page.evaluate("document.activeElement.closest('#act-cancel') !== null")
        expect(page.locator("#timeline-table")).to_have_attribute("open", "")
    expect(page.locator("[data-bars]")).to_contain_text("Paused")
