"""Chromium over the running product. Without one, these tests are reported as not run, loudly."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tenancy.models import Tenant
from tenancy.roles import Role
from tests.running import PASSWORD, BuiltRelease, RunningProduct, TenantInUse, build

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PIPELINES = Path(__file__).parents[1] / "e2e" / "pipelines"
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
NOT_RUN = "there is no Chromium; on Debian: apt-get install chromium"
LogIn = Callable[[TenantInUse, Role], Page]


def blocked(message: ConsoleMessage) -> list[str]:
    """The text of a console message about a policy that blocked something or that the browser does not know."""
    return [message.text] if "Policy" in message.text else []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(f"BROWSER TESTS NOT RUN: {NOT_RUN}")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop running in this thread, which Django takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()
        # Django keeps a connection for each event loop, so this one must be closed before the loop ends.
        connection.close()


@pytest.fixture
def tenant(browser: Browser, running: RunningProduct, name: str) -> Iterator[TenantInUse]:
    made = running.tenant(name)
    yield made
    made.stop_workers()


@pytest.fixture
def neighbour(browser: Browser, running: RunningProduct, name: str) -> TenantInUse:
    """Another tenant, with nothing of the first one's."""
    return running.tenant(f"{name}-next")


@pytest.fixture
def log_in(browser: Browser, running: RunningProduct) -> Iterator[LogIn]:
    """Open a page as a person with a role, who logs in with the form.

    A script error, or a resource that the Content-Security-Policy blocks, fails the test.
    """
    contexts, mistakes = [], list[str]()

    def open_as(of: TenantInUse, role: Role) -> Page:
        context = browser.new_context(base_url=running.url, viewport={"width": 1440, "height": 1000})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("console", lambda message: mistakes.extend(blocked(message)))
        page.goto("/admin/")
        page.fill("#id_username", _member(running, of.tenant, role))
        page.fill("#id_password", PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/admin/")
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert mistakes == []


def _member(running: RunningProduct, tenant: Tenant, role: Role) -> str:
    known = tenant.memberships.filter(role=role).select_related("user").first()
    return (known.user if known else running.member(tenant, role)).username


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")
