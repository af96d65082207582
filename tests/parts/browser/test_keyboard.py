import re

from playwright.sync_api import Page, expect

from tests.admin import operator_rows
from tests.admin.conftest import World
from tests.parts.browser.test_pages import NARROW


def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """Press Tab until the focus is on the link or button with this name."""
    for _ in range(most):
        page.keyboard.press("Tab")
        named = "(document.activeElement.ariaLabel || document.activeElement.textContent).trim()"
        if re.search(name, page.evaluate(named)):
            return
    raise AssertionError(f"{most} stops do not reach {name}")


def test_the_first_stop_skips_the_menu(page: Page) -> None:
    page.goto("/admin/executions/execution/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#content') !== null")


def test_a_person_logs_out_by_keyboard(page: Page) -> None:
    page.goto("/admin/executions/execution/")
    tab_to(page, "^Account of root$")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out", exact=False)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Log out", exact=False)).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out", exact=False)).to_be_visible()
    tab_to(page, "^Log out(?! everywhere)")
    page.keyboard.press("Enter")
    page.wait_for_url("**/logout/")


def test_the_filters_open_and_close_by_keyboard(page: Page) -> None:
    page.goto("/admin/executions/deadletter/")
    tab_to(page, "^Filters")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#changelist-filter') !== null")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Filters")).to_be_focused()


def test_the_menu_of_a_narrow_screen_opens_and_closes_by_keyboard(page: Page) -> None:
    page.set_viewport_size(NARROW)
    page.goto("/admin/executions/execution/")
    tab_to(page, "^Menu$")
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
