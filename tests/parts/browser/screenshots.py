"""Takes a picture of every page of the admin: light and dark, wide and narrow.

`make screenshots` runs this. It is no part of `make test`.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.admin.conftest import World
from tests.admin.pages import FRAGMENTS
from tests.parts.browser.test_pages import addresses, shown_in_each_way

FOLDER = Path("screenshots")


@pytest.mark.timeout(1800)
def test_every_page(page: Page, acme: tuple[World, str]) -> None:
    for name, address in addresses(acme[0]).items():
        if name in FRAGMENTS:
            continue
        page.goto(address)
        page.wait_for_load_state("networkidle")
        for way in shown_in_each_way(page):
            file = FOLDER / way.replace(" ", "-") / f"{name.replace(' ', '-')}.png"
            page.screenshot(path=file, full_page=True)
