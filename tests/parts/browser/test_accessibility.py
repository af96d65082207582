"""No page of the admin breaks a rule of axe: light and dark, on a wide and on a narrow screen."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.admin.conftest import World
from tests.admin.pages import FRAGMENTS
from tests.browsing import AXE, findings
from tests.parts.browser.test_security import addresses

WIDE: ViewportSize = {"width": 1440, "height": 1000}
NARROW: ViewportSize = {"width": 360, "height": 740}


def shown_in_each_way(page: Page) -> Iterator[str]:
    """Show the page in each theme and width, and yield the name of the combination."""
    for width, size in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size(size)
        for theme in ("light", "dark"):
            page.evaluate("theme => document.documentElement.classList.toggle('dark', theme === 'dark')", theme)
            yield f"{width} {theme}"


@pytest.mark.timeout(900)
def test_axe_finds_nothing_on_any_page(page: Page, acme: tuple[World, str]) -> None:
    problems = []
    for name, address in addresses(acme[0]).items():
        if name in FRAGMENTS or name == "nothing":
            continue
        page.goto(address)
        expect(page.locator("html")).not_to_have_attribute("x-cloak", "")
        page.evaluate(AXE)
        for way in shown_in_each_way(page):
            problems += [f"{name} {way}: {finding}" for finding in findings(page)]
            if way.startswith("narrow") and page.evaluate("document.documentElement.scrollWidth") > NARROW["width"]:
                problems.append(f"{name} {way}: the page is wider than the screen")
    assert not problems, "\n".join(problems)
