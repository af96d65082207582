"""One execution is found among 100,000, by keyboard alone."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django import DjangoDbBlocker

from executions.models import Execution
from tests import making
from tests.admin.conftest import World
from tests.database_template import connected_to
from tests.parts.browser.conftest import Pages
from tests.raw_sql import unguarded

COUNT = 100_000


@pytest.mark.timeout(300)
def test_one_execution_is_found_among_many_by_keyboard(
    page: Page, acme: tuple[World, str], pages: Pages, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock(), connected_to(pages.database), unguarded(Execution):
        making.copies(acme[0].execution, COUNT)
        Execution.objects.filter(execution_key="k77777").update(execution_key="order-77777-of-eva")
    page.goto("/admin/executions/execution/")
    expect(page.get_by_role("status").filter(has_text="executions")).to_have_text("More than 10,000 executions")
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()
    page.keyboard.type("order-777")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=order-777**")
    expect(page.locator("[data-count]")).to_have_text("1 execution")
    link = page.locator(".dc-id")
    expect(link).to_have_count(1)
    for _ in range(80):
        page.keyboard.press("Tab")
        if link.evaluate("link => link === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/**")
    expect(page.get_by_text("order-77777-of-eva").first).to_be_visible()
    page.get_by_role("link", name="Back to the list").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**q=order-777**")
