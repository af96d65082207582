import re

import pytest
from playwright.sync_api import Page, expect

from executions.awaits import claims, questions
from executions.models import Interaction, InteractionEvent
from tests.admin.conftest import World
from tests.admin.test_questions import ask, with_claims
from tests.browsing import AXE, findings
from tests.parts.browser.conftest import enter, tab_to
from tests.parts.browser.test_pages import NARROW
from tests.running import PASSWORD

LIST = "/admin/executions/interaction/"


@pytest.fixture
def world(acme: tuple[World, str]) -> World:
    return with_claims(acme[0])


@pytest.fixture
def question(world: World) -> Interaction:
    return ask(world, timeout_seconds=3600.0)


def press(page: Page, name: str, key: str = "Enter") -> None:
    tab_to(page, page.get_by_role("button", name=name, exact=True))
    page.keyboard.press(key)


EXPECTED = {"approved": True, "amount": "12.50", "reason": "late", "tags": ["vip", "new"]}


def test_a_question_is_claimed_and_answered_with_the_keyboard_alone(
    page: Page, world: World, question: Interaction
) -> None:
    page.goto(LIST)
    link = page.get_by_role("link", name="Approve claim", exact=True)
    tab_to(page, link)
    urgent = ask(world, "urgent", timeout_seconds=1800.0)
    claims.claim(urgent.tenant, urgent.pk, actor="user:eve")
    expect(page.locator("#result_list tbody").first).to_contain_text("eve")
    expect(link.last).to_be_focused()  # the new question stands before it
    expect(page.locator(":focus")).to_have_attribute("href", re.compile(str(question.pk)))
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
    press(page, "Check the answer")
    expect(page.locator("[data-summary]")).to_contain_text("12.50")
    expect(page.locator("#answer-form")).to_contain_text("She called.")
    press(page, "Change it")
    press(page, "Check the answer")
    press(page, "Send the answer")
    expect(page.locator("[data-answer]")).to_contain_text("She called.")
    question.refresh_from_db()
    assert (question.response, question.note, question.channel) == (EXPECTED, "She called.", "page")
    assert [event.kind for event in InteractionEvent.objects.filter(interaction=question)] == ["CLAIMED"]


def test_a_page_sees_others_and_a_log_out_and_keeps_what_was_typed(page: Page, question: Interaction) -> None:
    page.set_viewport_size(NARROW)
    page.goto(f"{LIST}{question.pk}/change/")
    for key in ("Tab", "Tab", "Enter", "Tab"):  # the second link leads to the answer
        page.keyboard.press(key)
    expect(page.locator("[name='answer.approved']").first).to_be_focused()
    page.locator("#answer-note").fill("I wrote this.")
    expect(page.locator("[data-countdown]")).not_to_have_text(page.locator("[data-countdown]").inner_text())
    page.get_by_role("button", name="Claim", exact=True).click()
    expect(page.locator("[data-claim=mine]")).to_be_visible()

    claims.claim(question.tenant, question.pk, actor="user:eve", take_over=True)
    expect(page.locator("[data-claim=others]")).to_contain_text("eve is working on it")
    check, typed = page.get_by_role("button", name="Check the answer"), page.locator("#answer-note")
    page.locator("#take-over").check()
    page.locator("[name='answer.approved']").first.check()
    page.context.set_offline(True)
    check.click()
    expect(page.locator("#answer-form > [data-failed]")).to_be_visible()
    page.context.set_offline(False)

    # A log-out in another tab, and a press before the page has noticed it. The log-in changes the token of the form.
    page.context.clear_cookies(name=re.compile("session"))
    check.click()
    expect(page.locator("[data-signed-out]")).to_be_visible()
    expect(check).to_have_count(0)
    enter(page.context.new_page(), PASSWORD)
    expect(check).to_be_visible()
    expect(typed).to_have_value("I wrote this.")
    page.locator("#take-over").check()
    check.click()
    expect(page.locator("#answer-summary")).to_be_focused()
    page.get_by_role("button", name="Change it").click()
    expect(typed).to_be_visible()

    questions.answer(question.tenant, question_id=question.pk, response=EXPECTED, actor="user:eve")
    expect(page.locator("[data-ended]")).to_contain_text("by eve. That answer counts.")
    expect(page.locator("[data-answer]")).to_contain_text("12.50")
    expect(typed).to_have_value("I wrote this.")
    page.evaluate(AXE)
    assert list(findings(page)) == []
