"""Fixtures: Chromium with the running product. Without Chromium, the report says that these tests did not run."""

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
NOT_RUN = "Chromium is not installed; on Debian: apt-get install chromium"
LogIn = Callable[[TenantInUse, Role], Page]


def blocked(message: ConsoleMessage) -> list[str]:
    """Return the text of a console message about a blocked resource or an unknown policy, in a list."""
    return [message.text] if "Policy" in message.text else []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(f"BROWSER TESTS NOT RUN: {NOT_RUN}")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop running in this thread, which makes Django refuse synchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()
        # Django keeps a connection for each event loop, so this one must be closed before the loop ends.
        connection.close()


@pytest.fixture
def tenant(browser: Browser, running: RunningProduct, name: str) -> Iterator[TenantInUse]:
    created = running.tenant(name)
    yield created
    created.stop_workers()


@pytest.fixture
def neighbour(browser: Browser, running: RunningProduct, name: str) -> TenantInUse:
    """Another tenant, without access to the first."""
    return running.tenant(f"{name}-next")


@pytest.fixture
def log_in(browser: Browser, running: RunningProduct) -> Iterator[LogIn]:
    """Return a function that logs a person with a role in and returns the page.

    A script error, or a resource that the Content-Security-Policy blocks, fails the test.
    """
    contexts, problems = [], list[str]()

    def open_as(tenant: TenantInUse, role: Role) -> Page:
        context = browser.new_context(base_url=running.url, viewport={"width": 1440, "height": 1000})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
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
    membership = tenant.memberships.filter(role=role).select_related("user").first()
    return (membership.user if membership else running.member(tenant, role)).username


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")
