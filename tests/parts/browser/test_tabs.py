import pytest
from playwright.sync_api import Page, expect

from governance.pipeline_page import PIPELINE_TABS
from governance.release_page import TABS
from tests import making
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.browsing import AXE, findings
from tests.parts.browser.test_pages import shown_in_each_way


@pytest.mark.timeout(300)
def test_axe_finds_nothing_on_any_tab(page: Page, acme: tuple[World, str]) -> None:
    """And the status and the act that counts in an incident are in reach on each of them."""
    problems = []
    for version in ("1.1", "1.5"):
        active = making.active(acme[0].tenant, version, pipeline_id="acme.bookings")
    rows = {"releases_pipeline": (active.pipeline_id, PIPELINE_TABS), "releases_release": (active, TABS)}
    for model, (row, tabs) in rows.items():
        for tab in tabs:
            page.goto(f"{to(f'{model}_change', row)}?tab={tab}")
            page.get_by_text("More", exact=True).first.click()
            page.evaluate(AXE)
            for way in shown_in_each_way(page):
                problems += [f"{model} {tab} {way}: {finding}" for finding in findings(page)]
                page.evaluate("scrollTo(0, 600)")
                for stays in (page.get_by_role("link", name="Roll back"), page.locator(".dc-head-line > *")):
                    expect(stays.first).to_be_in_viewport()
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    problems.append(f"{model} {tab} {way}: the page is wider than the screen")
    assert not problems, "\n".join(problems)
