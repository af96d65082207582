from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from governance.pipeline_page import PIPELINE_TABS
from governance.release_page import TABS
from releases.models import Activation
from tests import making
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.admin.named import named
from tests.admin.pages import READS, url
from tests.browsing import AXE, blocked, findings

WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 740}
CUT_OFF = """[...document.querySelectorAll('html, header > div, main dd')].filter(part =>
    part.scrollWidth > part.clientWidth || part.matches('header > div') && part.scrollHeight > part.clientHeight
    ).map(part => part.textContent.trim().slice(0, 80))"""


def shown_in_each_way(page: Page) -> Iterator[str]:
    """Show the page in each theme and width, and yield the name of the combination."""
    for width, size in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size(size)
        for theme in ("light", "dark"):
            page.evaluate("theme => document.documentElement.classList.toggle('dark', theme === 'dark')", theme)
            yield f"{width} {theme}"


OTHER_PAGES = ("admin:password_change", "admin:log_out_everywhere", "admin:password_change_done", "admin:login")


def addresses(world: World) -> dict[str, str]:
    names = named(world)
    urls = {page: url(page, names) for page in READS}
    return urls | {name: reverse(name) for name in OTHER_PAGES} | {"nothing": "/admin/nothing/"}


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


def test_a_slow_part_comes_later_and_can_be_tried_again(browser: Browser, page: Page, acme: tuple[World, str]) -> None:
    world, url_of_web = acme
    names, failing = named(world), [True]
    page.route("**/health/*", lambda route: route.fulfill(status=503) if failing else route.continue_())
    page.goto(url("releases_pipeline_change pipeline", names))
    part, state = page.locator("[data-later-part]"), page.locator("[data-later-state]")
    expect(state).to_have_text("Health of its releases could not be loaded.")
    failing.clear()
    page.get_by_role("link", name="Try again").press("Enter")
    expect(page.locator("[data-adoption]")).to_be_visible()
    expect(state).to_have_text("Health of its releases is shown.")
    expect(part).to_have_attribute("aria-busy", "false")
    expect(part).to_be_focused()

    activation, button = url("releases_release_activate release", names), page.locator("#activate-form button")
    page.route("**/form/*", lambda route: route.abort())
    page.goto(activation)
    expect(state).to_have_text("Pre-flight and confirmation could not be loaded.")
    expect(button).to_have_count(0)
    page.unroute("**/form/*")
    page.goto(activation)
    expect(button).to_be_visible()

    plain = browser.new_context(base_url=url_of_web, java_script_enabled=False)
    plain.add_cookies(page.context.cookies())  # type: ignore[arg-type]  # what one returns, the other takes
    without_scripts = plain.new_page()
    without_scripts.goto(activation)
    without_scripts.get_by_role("link", name="Show it").click()
    without_scripts.locator("#reason").fill("It is time.")
    without_scripts.locator("#activate-form button").click()
    without_scripts.wait_for_url("**/releases/pipeline/**")
    assert Activation.objects.latest("pk").reason == "It is time."
    plain.close()


def test_an_injected_script_does_not_run(page: Page) -> None:
    injected = """
        <script>window.hit = 'inline'</script>
        <script src="https://evil.example/x.js"></script>
        <script src="data:text/javascript,window.hit='data'"></script>
        <img src="/nothing" onerror="window.hit = 'handler'">
        <iframe srcdoc="<script>parent.hit = 'frame'</script>"></iframe>
        <a id="bad" href="javascript:void(window.hit='address')">x</a>
        <base href="https://evil.example/">
    """

    def inject(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace("</body>", f"{injected}</body>"))

    problems: list[Any] = []
    page.on("console", lambda message: problems.extend(blocked(message)))
    page.route("**/admin/tenancy/tenant/", inject)
    page.goto("/admin/tenancy/tenant/")
    page.locator("#bad").evaluate("link => link.click()")
    expect(page.locator("html")).not_to_have_attribute("x-cloak", "")
    assert page.evaluate("[window.hit ?? null, document.baseURI.startsWith(location.origin)]") == [None, True]
    assert len(problems) >= 5
