"""Takes a picture of every page of the admin, into `screenshots/`, and asks axe about it.

`make screenshots` takes each in all four ways, and renews those of the README and of the guides.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from embedded.product import PROJECT
from tests import making
from tests.admin.conftest import World
from tests.admin.pages import CHANGES, ELSEWHERE, FRAGMENTS
from tests.admin.test_matrix import ALL, UNUSED
from tests.browsing import AXE, blocked, findings
from tests.parts.browser.test_pages import CUT_OFF, addresses, shown_in_each_way
from tests.repetition import THOROUGH

FOLDER = Path("screenshots")
IMAGES = PROJECT / "docs/images" if THOROUGH else FOLDER
OF_GUIDES = {
    "index": "overview",
    "releases_release_activate candidate": "activate",
    "executions_campaign_change campaign": "campaign",
    "executions_failuregroup_change group": "failures",
    "executions_interaction_change question": "question",
}
WAYS = ("wide light", "narrow dark")
NO_PICTURE = {page.split()[0] for page in (*FRAGMENTS, *CHANGES)} | ELSEWHERE
"""Parts of pages, downloads, forms whose page has another address, and what the product does not offer."""


@pytest.mark.timeout(1800)
def test_every_page_has_a_picture_without_findings_of_axe(page: Page, acme: tuple[World, str]) -> None:
    """And the policy blocks nothing."""
    pictured, problems = set[str](), list[str]()
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("console", lambda message: problems.extend(f"{page.url}: {text}" for text in blocked(message)))
    for name, address in addresses(acme[0]).items():
        if name in FRAGMENTS:
            continue
        response = page.goto(address)
        assert (response and response.status) == (404 if name == "nothing" else 200), name
        page.wait_for_load_state("networkidle")
        # Alpine removes this attribute once it has run.
        expect(page.locator("html")).not_to_have_attribute("x-cloak", "")
        page.evaluate(AXE)
        for way in shown_in_each_way(page):
            problems += [f"{name} {way}: {finding}" for finding in findings(page)]
            if way.startswith("narrow"):
                problems += [f"{name} {way}: cut off: {text}" for text in page.evaluate(CUT_OFF)]
            if THOROUGH or way in WAYS:
                file = FOLDER / way.replace(" ", "-") / f"{name.replace(' ', '-')}.png"
                page.screenshot(path=file, full_page=True)
        pictured.add(name.split()[0].removeprefix("admin:"))
    page.goto("/nothing")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "544px"
    assert not problems, "\n".join(problems)
    assert {name for name in ALL - pictured - NO_PICTURE if not name.endswith(UNUSED)} == set()


def test_the_picture_of_the_readme_shows_a_release_that_can_be_activated(page: Page, acme: tuple[World, str]) -> None:
    release = making.registered(acme[0].tenant, "2.0", pipeline_id="acme.orders")
    making.worker(release, "orders-2", alive_until=timezone.now() + timedelta(hours=1))
    page.goto(reverse("admin:releases_release_change", args=[release.pk]))
    expect(page.get_by_role("link", name="Activate", exact=True).first).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / "release.png")


def test_the_pictures_of_the_guides_show_pages(page: Page, acme: tuple[World, str]) -> None:
    places = addresses(acme[0])
    for name, picture in OF_GUIDES.items():
        page.goto(places[name])
        page.wait_for_load_state("networkidle")
        expect(page.locator("main h1, #content h1, h1").first).to_be_attached()
        page.screenshot(path=IMAGES / f"{picture}.png")
