from playwright.sync_api import Page, expect

from governance.resubmission.resubmission import resubmit
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.parts.browser.conftest import tab_to
from tests.parts.browser.test_pages import NARROW


def test_the_first_stop_skips_the_menu(page: Page) -> None:
    page.goto("/admin/executions/execution/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#content') !== null")


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


def test_replaced_work_runs_twice_only_after_a_word(page: Page, acme: tuple[World, str]) -> None:
    [failed] = operator_rows.dead(acme[0], "order-4711")
    made = resubmit(acme[0].tenant, failed.pk, actor="user:ann", reason="fixed")
    page.set_viewport_size(NARROW)
    page.goto(to("executions_deadletter_change", operator_rows.letter(failed)))
    note = page.locator("[data-replacement]")
    expect(note).to_contain_text(f"Its work moved to execution {made.pk} on release 1.0, which is due.")
    tab_to(page, page.get_by_role("link", name="Re-drive", exact=False))
    page.keyboard.press("Enter")
    expect(note).to_be_visible()
    page.get_by_role("checkbox", name="Run the work twice anyway.").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{failed.pk}/change/")
    expect(page.get_by_text("The execution was DLQ. It is queued on release 1.0.")).to_be_visible()
