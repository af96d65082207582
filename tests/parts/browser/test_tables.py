"""Tables with realistic data: they fit the screen of a laptop, and a phone shows what decides. So does the menu."""

import pytest
from playwright.sync_api import Page, ViewportSize

from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import World, furnished
from tests.admin.named import named
from tests.admin.pages import READS, url
from tests.parts.browser.test_pages import NARROW
from tests.unit.foundation.test_columns import SHOWN

KEY = "order-2026-11-30-warehouse-north-0000417-express"
TABLES = """() => [...document.querySelectorAll("#result_list, table.dc-table")].filter(table => table.offsetParent)"""
TOO_WIDE = f"""() => ({TABLES})().filter(table => table.offsetWidth > table.parentElement.clientWidth + 1)
    .map(table => [...table.querySelectorAll("th")].map(each => `${{each.innerText}} ${{each.offsetWidth}}`).join())"""
HIDDEN = f"""() => ({TABLES})().flatMap(table => [...table.querySelectorAll("tbody tr")].slice(0, 1))
    .flatMap(row => [...row.cells].slice(0, 3))
    .filter(cell => cell.innerText.trim() && !cell.hasAttribute("data-empty"))
    .filter(cell => !cell.offsetParent || cell.getBoundingClientRect().right > innerWidth + 1)
    .map(cell => `${{cell.dataset.label}} is hidden`)"""
STILL = r"""() => [...document.querySelectorAll("td")].filter(td => (td.textContent.match(/\d \w+ ago/g) ?? []).length
    > td.querySelectorAll("time").length).map(td => `stands still: ${td.textContent}`)"""
LAPTOP: ViewportSize = {"width": 1280, "height": 900}


@pytest.mark.timeout(600)
def test_tables_and_the_menu_fit_the_screen(page: Page, acme: tuple[World, str]) -> None:
    world = furnished("northern-europe-logistics", "com.northern-europe.warehouse-replenishment")
    names, problems = named(world), []
    making.registered(world.tenant, "2026.11.30-rc.12+build.88421", pipeline_id=operator_rows.pipeline_of(world))
    operator_rows.dead(world, KEY, code="WarehouseRejectedReservation", message="Only 3 of 12 pallets are left. " * 9)
    operator_rows.question(world, f"{KEY}-2", assignee="anna.lindqvist@example.com")
    for name in (view for view in READS if view == "index" or view.split()[0].endswith(("_changelist", "_change"))):
        for size, finds in ((LAPTOP, (TOO_WIDE, STILL)), (NARROW, (HIDDEN,))):
            page.set_viewport_size(size)
            page.goto(url(name, names), wait_until="networkidle")
            problems += [f"{name} at {size['width']}: {text}" for find in finds for text in page.evaluate(find)]
    page.set_viewport_size(LAPTOP)
    page.goto(url("index", names))
    links = page.locator("#nav-sidebar-apps a")
    assert links.count() <= 12
    assert all((box := links.nth(number).bounding_box()) and box["y"] + box["height"] <= 900 for number in range(12))
    assert not problems, "\n".join(problems)
    for seconds, text in SHOWN.items():
        assert page.evaluate(f"relative(1e12 + 1000 * {seconds}, 1e12)") == text
