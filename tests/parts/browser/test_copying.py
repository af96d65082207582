"""Ids, keys and documents are copied with buttons, by keyboard, and screen readers hear of it."""

import pytest
from playwright.sync_api import Page, expect

from tests.admin.conftest import World
from tests.browsing import blocked

WITHOUT_CLIPBOARD = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })"
REMEMBERED = "document.execCommand = () => { window.copied = document.activeElement.value; return %s }"


@pytest.fixture
def problems(page: Page) -> list[str]:
    """Return the list to which script errors and violations of the Content-Security-Policy are added."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.extend(blocked(message)))
    return found


def press(page: Page, name: str) -> None:
    """Press the button with Enter. The focus stays on it, and the result is announced."""
    button = page.get_by_role("button", name=name).first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).not_to_be_empty()
    expect(button).to_be_focused()


def test_the_key_and_the_id_of_a_row_are_copied_by_keyboard(
    page: Page, acme: tuple[World, str], problems: list[str]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    execution = acme[0].execution
    for name, text in (("Copy the key key-of-acme", "key-of-acme"), (f"Copy the id {execution.pk}", str(execution.pk))):
        page.goto("/admin/executions/execution/")
        press(page, name)
        expect(page.locator("#copied")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == text
    assert problems == []


@pytest.mark.parametrize(("result", "announced"), [("true", "Copied."), ("false", "The browser did not copy it.")])
def test_a_page_without_https_copies_too(result: str, announced: str, page: Page, acme: tuple[World, str]) -> None:
    page.add_init_script(WITHOUT_CLIPBOARD)
    page.goto("/admin/executions/execution/")
    page.evaluate(REMEMBERED % result)
    press(page, "Copy the key key-of-acme")
    expect(page.locator("#copied")).to_have_text(announced)
    assert page.evaluate("window.copied") == "key-of-acme"
