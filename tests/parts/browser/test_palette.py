"""The command palette by keyboard, and without JavaScript. The live overview keeps the keyboard focus."""

from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.admin.conftest import World


def execution_page(world: World) -> str:
    return reverse("admin:executions_execution_change", args=[world.execution.pk])


def test_an_execution_is_found_by_the_beginning_of_its_key_and_opened_by_keyboard(
    page: Page, acme: tuple[World, str]
) -> None:
    page.goto("/admin/")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Search")).to_be_visible()
    expect(page.get_by_role("option", name="Overview Page")).to_be_visible()
    page.keyboard.type("key-of-ac")
    expect(page.get_by_role("option", name="Execution key-of-acme")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{execution_page(acme[0])}")


def test_the_arrow_keys_choose_and_escape_returns_the_focus(page: Page) -> None:
    page.goto("/admin/")
    link = page.locator("#palette-open")
    link.focus()
    page.keyboard.press("Enter")
    options = page.get_by_role("option")
    expect(options.nth(0)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options.nth(2)).to_have_attribute("aria-selected", "true")
    expect(options.nth(0)).to_have_attribute("aria-selected", "false")
    expect(page.locator("#palette-term")).to_have_attribute("aria-activedescendant", "palette-2")
    page.keyboard.press("ArrowUp")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#palette-term")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    expect(link).to_be_focused()


def test_the_live_overview_keeps_the_focus(page: Page, acme: tuple[World, str]) -> None:
    page.goto("/admin/")
    link = page.locator(f"#pipeline-{acme[0].release.pipeline_id}")
    link.focus()
    details = page.locator("#numbers-hour")
    if details.count():
        details.locator("summary").click()
        link.focus()
    for _ in range(2):
        with page.expect_response(lambda answer: answer.url.endswith("/admin/") and answer.request.method == "GET"):
            pass
        page.wait_for_timeout(300)
        expect(link).to_be_focused()
    assert page.evaluate("document.activeElement.isConnected")
