"""Takes a picture of every page of the admin: light and dark, wide and narrow, of a busy tenant and of an empty one.

`make screenshots` runs this. It is no part of `make test`.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tenancy.roles import Role
from tests import making
from tests.admin.conftest import World, person
from tests.admin.pages import FRAGMENTS
from tests.parts.browser import busy
from tests.parts.browser.conftest import enter
from tests.parts.browser.test_accessibility import shown_in_each_way
from tests.parts.browser.test_security import addresses
from tests.running import PASSWORD

FOLDER = Path("screenshots")


def take(page: Page, folder: str, name: str, address: str) -> None:
    page.goto(address)
    page.wait_for_load_state("networkidle")
    for way in shown_in_each_way(page):
        file = FOLDER / folder / way.replace(" ", "-") / f"{name.replace(' ', '-')}.png"
        page.screenshot(path=file, full_page=True)


@pytest.mark.timeout(1800)
def test_every_page(page: Page, acme: tuple[World, str], tmp_path: Path) -> None:
    busy_world = busy.fill(making.tenant("globex"), tmp_path)
    for name, address in addresses(busy_world).items():
        if name not in FRAGMENTS:
            take(page, "full", name, address)
    page.context.clear_cookies()
    newcomer = person("newcomer", making.tenant("initech"), Role.TENANT_ADMIN)
    newcomer.set_password(PASSWORD)
    newcomer.save()
    enter(page, PASSWORD, "newcomer")
    for name, address in addresses(busy_world).items():
        if address.count("/") < 5 and name not in FRAGMENTS:  # lists, which show the rows of the user's tenants
            take(page, "empty", name, address)
