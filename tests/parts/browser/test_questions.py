"""Questions that people answer: by the generated form with the keyboard alone, and without JavaScript."""

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from executions.models import Interaction, InteractionEvent
from tests.admin.conftest import World
from tests.admin.test_questions import ask, with_claims
from tests.browsing import SCREEN
from tests.parts.browser.conftest import enter
from tests.running import PASSWORD

LIST = "/admin/executions/interaction/"


@pytest.fixture
def question(acme: tuple[World, str]) -> Interaction:
    return ask(with_claims(acme[0]), timeout_seconds=3600.0)


def tab_to(page: Page, to: Locator) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(200):
        if to.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {to}")


def press(page: Page, name: str, key: str = "Enter") -> None:
    tab_to(page, page.get_by_role("button", name=name, exact=True))
    page.keyboard.press(key)


def answer_of(of: Interaction) -> tuple[object, str | None, str | None]:
    of.refresh_from_db()
    return of.response, of.note, of.channel


EXPECTED = {"approved": True, "amount": "12.50", "reason": "late", "tags": ["vip", "new"]}


def test_a_question_is_claimed_and_answered_with_the_keyboard_alone(page: Page, question: Interaction) -> None:
    page.goto(LIST)
    tab_to(page, page.get_by_role("link", name="Approve claim", exact=True))
    page.keyboard.press("Enter")
    press(page, "Claim")
    expect(page.locator("[data-claim=mine]")).to_contain_text("You are working on it")

    # A group of radio buttons is one stop, and the arrow keys choose.
    tab_to(page, page.locator("[name='answer.approved']").first)
    page.keyboard.press("Space")
    tab_to(page, page.get_by_label("Amount"))
    page.keyboard.press("Control+A")
    page.keyboard.type("12.50")
    tab_to(page, page.locator("[name='answer.reason'][value='']"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    for number, text in enumerate(("vip", "new")):
        press(page, "Add an item to Tags")
        field = page.locator(f"[name='answer.tags.{number}']")
        expect(field).to_be_visible()
        # The focus stays on the button, which comes after the new field.
        expect(page.get_by_role("button", name="Add an item to Tags")).to_be_focused()
        for _ in range(2):
            page.keyboard.press("Shift+Tab")
        expect(field).to_be_focused()
        page.keyboard.type(text)
    tab_to(page, page.locator("#answer-note"))
    page.keyboard.type("She called.")
    press(page, "Answer")
    expect(page.locator("[data-answer]")).to_contain_text("She called.")
    assert answer_of(question) == (EXPECTED, "She called.", "page")
    assert [event.kind for event in InteractionEvent.objects.filter(interaction=question)] == ["CLAIMED"]


def test_a_question_is_answered_without_javascript(
    browser: Browser, acme: tuple[World, str], question: Interaction
) -> None:
    context = browser.new_context(base_url=acme[1], viewport=SCREEN, java_script_enabled=False)
    context.set_default_timeout(20_000)
    page = context.new_page()
    enter(page, PASSWORD)
    page.goto(LIST)
    page.get_by_role("link", name="Approve claim", exact=True).click()
    page.get_by_role("button", name="Claim", exact=True).click()
    expect(page.locator("[data-claim=mine]")).to_be_visible()
    page.get_by_role("radio", name="Yes").check()
    page.get_by_label("Amount").fill("ten")
    page.get_by_role("radio", name="late").check()
    for number, text in enumerate(("vip", "oops", "new")):
        page.get_by_role("button", name="Add an item to Tags").click()
        page.locator(f"[name='answer.tags.{number}']").fill(text)
    page.get_by_role("button", name="Remove Tags 2").click()
    page.locator("#answer-note").fill("She called.")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_text("Amount must be a decimal number.")).to_be_visible()
    page.get_by_label("Amount").fill("12.50")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("[data-answer]")).to_contain_text("She called.")
    assert answer_of(question) == (EXPECTED, "She called.", "page")
    context.close()
