"""A person who uses the console in Chromium, by mouse or by keyboard alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, expect

from tests.browsing import AXE, findings
from tests.parts.browser.conftest import enter
from tests.running import PASSWORD

MOST_TABS = 150
REFUSED = ("400", "409", "422")
"""The statuses of pages that refuse a form. Chromium reports them as errors of the console."""

# Where a target is as seen from the focus. A group of radio buttons is one stop.
PLACE = """target => {
    const focus = document.activeElement
    const isInGroup = target.type === 'radio' && focus.type === 'radio' && focus.name === target.name
    if (focus === target || isInGroup) return 'here'
    if (focus === document.body || focus.closest('.dc-skip')) return target.closest('#content') ? 'skip' : 'after'
    return focus.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_PRECEDING ? 'before' : 'after'
}"""

MAIN = "#main, body:not(:has(#main))"
"""What is not the menu. The pages of the sign-in have no menu."""

# Parts that come after their page have come.
LOADED = "!document.querySelector('[aria-busy=true], .htmx-request, .htmx-swapping, .htmx-settling')"

ICONS_READ = """Array.from(document.querySelectorAll('.material-symbols-outlined:not([aria-hidden], [aria-hidden] *)'),
    icon => icon.textContent)"""


class Way(NamedTuple):
    """How a person uses the console. `width` is that of the screen in CSS pixels."""

    device: str
    theme: Any
    width: int

    def __str__(self) -> str:
        return f"{self.device}, {self.width} px"

    @property
    def is_narrow(self) -> bool:
        return self.width < 800


class Person:
    """Acts on pages by the words that they show, as a person who sees or hears them does.

    `count` is the number of clicks, or of pressed keys: Tab, Enter, Space and arrows. Typed text does not count.
    """

    def __init__(self, browser: Browser, url: str, way: Way) -> None:
        self.way = way
        self.count = 0
        self.problems: list[str] = []
        self.hidden: list[str] = []
        self._context = _context(browser, url, way)
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))
        self.page.on("console", self._heard)

    def signs_in(self, username: str) -> Self:
        enter(self.page, PASSWORD, username)
        self.page.wait_for_url("**/admin/")
        return self

    def visits(self, address: str) -> Self:
        """Open an address that did not come from a page."""
        self.page.goto(address)
        return self

    def opens(self, name: str, within: str = MAIN) -> Self:
        """Follow the first link with this name."""
        return self._press(self._named("link", name, within))

    def opens_row(self, text: str) -> Self:
        """Follow the link of the row of a list that shows this text."""
        row = self._wait(self._main.locator("tr").filter(has_text=text).first, f"row {text}")
        return self._press(row.get_by_role("link").first)

    def presses(self, name: str, within: str = MAIN) -> Self:
        """Press the first button with this name."""
        return self._press(self._named("button", name, within))

    def unfolds(self, title: str) -> Self:
        """Open or close the part of the page with this title."""
        return self._press(self._main.locator("summary").filter(has_text=title).first)

    def goes_to(self, entry: str) -> Self:
        """Choose an entry of the menu, which may have a number."""
        return self._chooses("link", rf"^{entry}( \d+\+?)?$", opens_menu=self.way.is_narrow)

    def goes_to_account(self, entry: str) -> Self:
        """Choose an entry of the menu of the person's own account."""
        self._chooses("button", "^Account of ", opens_menu=self.way.is_narrow)
        return self._chooses("link", f"^{entry}$")

    def fills(self, label: str, text: str) -> Self:
        field = self._labelled(label)
        self._focus(field)
        if field.input_value():
            self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
        return self

    def enters(self, label: str, text: str) -> Self:
        """Fill a field and press Enter in it."""
        self.fills(label, text)
        self._key("Enter")
        return self

    def selects(self, label: str, option: str) -> Self:
        field = self._labelled(label)
        if self.way.device == "keyboard":
            self._focus(field)
            self.page.keyboard.type(option)
        else:
            self._click(field, lambda: field.select_option(label=option))
        expect(field.locator("option:checked")).to_have_text(option)
        return self

    def ticks(self, label: str) -> Self:
        """Choose a checkbox or a radio button."""
        box = self._labelled(label)
        if self.way.device == "mouse":
            self._click(box, box.check)
            return self
        self._tab_to(box)
        if box.get_attribute("type") == "radio":
            while not box.evaluate("box => box === document.activeElement"):
                self._key("ArrowDown")
        if not box.is_checked():
            self._key("Space")
        expect(box).to_be_checked()
        return self

    def attaches(self, label: str, *files: Path) -> Self:
        """Choose files in the dialog that the field opens."""
        with self.page.expect_file_chooser() as chooser:
            self._press(self._labelled(label))
        chooser.value.set_files(list(files))
        return self

    def sees(self, *texts: str) -> Self:
        for text in texts:
            self._wait(self._main.get_by_text(text).filter(visible=True).first, text)
        return self

    def sees_not(self, text: str) -> Self:
        expect(self.page.locator("#content").get_by_text(text)).to_have_count(0)
        return self

    def sees_disabled(self, button: str) -> Self:
        expect(self._named("button", button, MAIN)).to_be_disabled()
        return self

    def downloads(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.opens(name)
        return download.value.path().read_bytes()

    def leaves(self) -> Iterator[str]:
        """Yield what is wrong with the page that the person sees last, and what the console said. Close the browser."""
        yield from self.problems
        if self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            yield f"{self.page.url} is wider than the screen"
        self.page.wait_for_function(LOADED)
        yield from (f"{self.page.url} reads the icon {name}" for name in self.page.evaluate(ICONS_READ))
        self.page.evaluate(AXE)
        yield from findings(self.page)
        self._context.close()

    @property
    def _main(self) -> Locator:
        return self.page.locator(MAIN)

    def _heard(self, message: ConsoleMessage) -> None:
        is_refusal = any(f"status of {status}" in message.text for status in REFUSED)
        if (message.type == "error" and not is_refusal) or "Policy" in message.text:
            self.problems.append(f"{self.page.url}: {message.text}")

    def _chooses(self, role: Any, pattern: str, *, opens_menu: bool = False) -> Self:
        """Press a part of the menu, which a narrow screen hides behind a button."""
        if opens_menu:
            self.presses("Menu")
        parts = self.page.locator("#nav-sidebar").get_by_role(role, name=re.compile(pattern))
        return self._press(self._wait(parts.first, f"{pattern} in the menu"))

    def _named(self, role: Any, name: str, within: str) -> Locator:
        return self._wait(self.page.locator(within).get_by_role(role, name=name, exact=True).first, f"{role} {name}")

    def _labelled(self, label: str) -> Locator:
        return self._wait(self._main.get_by_label(label).filter(visible=True).first, f"field {label}")

    def _wait(self, target: Locator, what: str) -> Locator:
        try:
            target.wait_for()
        except Error:
            seen = self._main.aria_snapshot()
            raise AssertionError(f"{self.page.url} shows no {what}:\n{seen}") from None
        return target

    def _press(self, target: Locator) -> Self:
        if self.way.device == "keyboard":
            self._tab_to(target)
            self._key("Enter")
        else:
            self._click(target, target.click)
        return self

    def _focus(self, target: Locator) -> None:
        if self.way.device == "keyboard":
            self._tab_to(target)
        else:
            self._click(target, target.click)

    def _click(self, target: Locator, act: Any) -> None:
        if not target.evaluate("each => each.getBoundingClientRect().top < innerHeight"):
            self.hidden.append(target.evaluate("each => each.textContent || each.name").strip())
        act()
        self.count += 1

    def _key(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.count += 1

    def _tab_to(self, target: Locator) -> None:
        """Move the focus as a person does who knows the page: over the menu, and back if the target is before."""
        for _ in range(MOST_TABS):
            place = target.evaluate(PLACE)
            if place == "here":
                return
            self._key("Shift+Tab" if place == "before" else "Tab")
            if place == "skip":
                self._key("Enter")
        raise AssertionError(f"{MOST_TABS} stops do not reach {target}")


def _context(browser: Browser, url: str, way: Way) -> BrowserContext:
    size: Any = {"width": way.width, "height": 740 if way.is_narrow else 900}
    context = browser.new_context(base_url=url, viewport=size, color_scheme=way.theme)
    context.set_default_timeout(20_000)
    return context
