import pytest
from playwright.sync_api import Page, expect

from governance.pipeline_page import PIPELINE_TABS
from governance.release_page import TABS
from releases.models import Activation, Release
from tests import making
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.browsing import AXE, findings
from tests.governance.activation.test_rollback_targets import counted
from tests.parts.browser.test_keyboard import tab_to
from tests.parts.browser.test_pages import NARROW, shown_in_each_way


def newest() -> tuple[str, str, str]:
    made = Activation.objects.latest("id")
    return made.release.release_version, made.kind, made.reason


@pytest.fixture
def releases(acme: tuple[World, str]) -> dict[str, Release]:
    """1.1 was good, 1.3 failed, and 1.5 fails. Workers host 1.1 and 1.5."""
    made = {}
    for version, failed in (("1.1", 1), ("1.3", 40), ("1.5", 40)):
        made[version] = making.active(acme[0].tenant, version, pipeline_id="acme.bookings")
        counted(made[version], 100 - failed, failed, hours=1)
    making.worker(made["1.1"], "bookings-1")
    return made


@pytest.mark.timeout(180)
def test_the_good_release_is_three_steps_away(page: Page, releases: dict[str, Release]) -> None:
    pipeline, active = to("releases_pipeline_change", releases["1.5"].pipeline_id), releases["1.5"]
    page.goto(pipeline)
    page.get_by_role("link", name="Roll back").click()
    expect(page.get_by_label("1.1")).to_be_checked()
    expect(page.locator("[data-target='1.3']")).to_contain_text("It failed often: 40 of 100 executions (40 %).")
    page.get_by_label("Reason").fill("The shops cannot pay")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("[data-head]")).to_contain_text("1.1")
    assert newest() == ("1.1", "rollback", "The shops cannot pay")

    page.set_viewport_size(NARROW)
    page.goto(to("releases_release_change", active))
    act = page.get_by_role("link", name="Roll back to this release")
    expect(act).to_be_in_viewport()
    tab_to(page, "Roll back to this release$")
    page.keyboard.press("Enter")
    expect(page.get_by_label("1.5")).to_be_checked()
    expect(page.locator("[data-target='1.5']")).to_contain_text("It was rolled back by user:root")
    page.get_by_label("1.5").focus()
    while page.evaluate("document.activeElement.name") != "reason":
        page.keyboard.press("Tab")
    page.keyboard.type("It was the network")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{pipeline}")
    assert newest() == ("1.5", "rollback", "It was the network")


@pytest.mark.timeout(300)
def test_axe_finds_nothing_on_any_tab(page: Page, releases: dict[str, Release]) -> None:
    active, problems = releases["1.5"], []
    rows = {"releases_pipeline": (active.pipeline_id, PIPELINE_TABS), "releases_release": (active, TABS)}
    for model, (row, tabs) in rows.items():
        for tab in tabs:
            page.goto(f"{to(f'{model}_change', row)}?tab={tab}")
            page.get_by_text("More", exact=True).first.click()
            page.evaluate(AXE)
            for way in shown_in_each_way(page):
                problems += [f"{model} {tab} {way}: {finding}" for finding in findings(page)]
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    problems.append(f"{model} {tab} {way}: the page is wider than the screen")
    assert not problems, "\n".join(problems)
