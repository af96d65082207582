from playwright.sync_api import Page, expect

from tests.admin import operator_rows
from tests.admin.conftest import World
from tests.parts.browser.conftest import tab_to
from tests.parts.browser.test_pages import NARROW


def test_a_person_logs_out_by_keyboard(page: Page) -> None:
    page.goto("/admin/executions/execution/")
    log_out = page.get_by_role("button", name="Log out", exact=False)
    tab_to(page, page.get_by_role("button", name="Account of root"))
    for key in ("Enter", "Escape", "Enter"):
        page.keyboard.press(key)
        expect(log_out).to_be_visible(visible=key == "Enter")
    tab_to(page, log_out)
    page.keyboard.press("Enter")
    page.wait_for_url("**/logout/")


def test_the_filters_open_and_close_by_keyboard(page: Page) -> None:
    page.goto("/admin/executions/deadletter/")
    tab_to(page, page.get_by_role("button", name="Filters"))
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#changelist-filter') !== null")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Filters")).to_be_focused()


def test_the_menu_of_a_narrow_screen_opens_and_closes_by_keyboard(page: Page) -> None:
    page.set_viewport_size(NARROW)
    page.goto("/admin/executions/execution/")
    tab_to(page, page.locator("#menu-button"))
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#nav-sidebar') !== null")
    page.get_by_role("button", name="Close the menu").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#menu-button")).to_be_focused()


def test_the_palette_leads_to_the_question_of_an_execution(page: Page, acme: tuple[World, str]) -> None:
    question = operator_rows.question(acme[0], "order-4711")
    page.set_viewport_size(NARROW)
    page.goto("/admin/")
    page.keyboard.press("Control+k")
    page.keyboard.type("order-47")
    expect(page.get_by_role("option", name="Question of order-4711")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/executions/interaction/{question.pk}/**")
