"""Chromium, people who are logged in to the admin, and axe."""

import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files

import pytest
from django.contrib.auth.models import User
from django.db import connection
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from embedded.product import PROJECT
from tenancy.models import Tenant
from tenancy.roles import Role
from tests.running import PASSWORD, RunningProduct, TenantInUse

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SCREEN: ViewportSize = {"width": 1440, "height": 1000}
UNPACKED = PROJECT / ".local" / "chromium"
"""Where `.ci/install-chromium` puts Chromium on machines without one."""
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name) or shutil.which(name, path=UNPACKED))), None)
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
LogIn = Callable[[TenantInUse, Role], Page]
# Playwright's own limit of five seconds is the interval at which live pages are loaded again.
expect.set_options(timeout=20_000)


def blocked(message: ConsoleMessage) -> list[str]:
    """Return the text of a console message about a blocked resource or an unknown policy, in a list."""
    return [message.text] if "Policy" in message.text else []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "there is no Chromium; .ci/install-chromium brings it"
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop running in this thread, which makes Django refuse synchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()
        # Django keeps a connection for each event loop, so this one must be closed before the loop ends.
        connection.close()


@pytest.fixture
def log_in(browser: Browser, running: RunningProduct) -> Iterator[LogIn]:
    """Return a function that logs a person with a role in and returns the page.

    A script error, or a resource that the Content-Security-Policy blocks, fails the test.
    """
    contexts, problems = [], list[str]()

    def open_as(tenant: TenantInUse, role: Role) -> Page:
        context = browser.new_context(base_url=running.url, viewport=SCREEN)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on("console", lambda message: problems.extend(blocked(message)))
        page.goto("/admin/")
        page.fill("#id_username", _member(running, tenant.tenant, role))
        page.fill("#id_password", PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/admin/")
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert problems == []


def _member(running: RunningProduct, tenant: Tenant, role: Role) -> str:
    user = User.objects.filter(memberships__tenant=tenant, memberships__role=role).first()
    return (user or running.member(tenant, role)).username


def findings(page: Page) -> Iterator[str]:
    result = page.evaluate("tags => axe.run({runOnly: tags, resultTypes: ['violations']})", RULES)
    for violation in result["violations"]:
        for node in violation["nodes"]:
            yield f"{violation['id']}: {' '.join(node['target'])}: {node['html'][:200]}"
