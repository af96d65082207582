"""The page of one execution in a browser: its live part keeps the focus, and it works without JavaScript."""

from playwright.sync_api import Browser, Page, expect

from executions.holds import holds
from tests.admin.conftest import World
from tests.browsing import SCREEN
from tests.parts.browser.conftest import enter
from tests.running import PASSWORD


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


def test_every_tab_works_without_javascript(browser: Browser, acme: tuple[World, str]) -> None:
    context = browser.new_context(base_url=acme[1], viewport=SCREEN, java_script_enabled=False)
    page = context.new_page()
    enter(page, PASSWORD)
    page.goto(f"/admin/executions/execution/{acme[0].execution.pk}/change/")
    expect(page.locator("[data-timeline]")).to_be_visible()
    page.locator("#timeline-table summary").click()
    expect(page.locator("[data-bars]")).to_be_visible()
    page.locator("#tab-payloads").click()
    expect(page.locator("[data-payload=input]")).to_contain_text('"n": 1')
    with page.expect_download() as download:
        page.locator("#download-input").click()
    assert download.value.suggested_filename == f"input-{acme[0].execution.pk}.json"
    page.locator("#compare-other").fill("key-of-acme")
    page.locator("#compare").click()
    expect(page.locator("[data-equal]")).to_be_visible()
    context.close()
