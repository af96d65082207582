"""Fixtures: Chromium with the running product."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright
from pytest_django import DjangoDbBlocker

from embedded.product import PROJECT, Product
from executions.models import Worker
from releases.artifacts.store.local import LocalArtifactStore
from tenancy.models import Tenant
from tenancy.roles import Role
from tests.admin.conftest import World, furnished, person
from tests.artifact_stores import use_local
from tests.database_template import connected_to, database
from tests.race_database import emptied
from tests.running import PASSWORD, BuiltRelease, RunningProduct, TenantInUse, build
from tests.servers import NUMBER, ordinary_url

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SCREEN: ViewportSize = {"width": 1440, "height": 1000}
PIPELINES = Path(__file__).parents[2] / "e2e" / "pipelines"
UNPACKED = PROJECT / ".local" / "chromium"
"""Where `.ci/install-chromium` puts Chromium on machines without one."""
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name) or shutil.which(name, path=UNPACKED))), None)
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
    membership = tenant.memberships.filter(role=role).select_related("user").first()
    return (membership.user if membership else running.member(tenant, role)).username


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")


@dataclass(frozen=True)
class Pages:
    """A web process that dispatches nothing: its address, its database and its artifact store."""

    url: str
    database: str
    artifacts: Path


@pytest.fixture(scope="session")
def pages(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory, gathered_static_files: str
) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("pages")
    artifacts = folder / "artifacts"
    LocalArtifactStore(artifacts).set_up()
    with database(f"test_{NUMBER}_pages") as name:
        product = Product(
            folder / "product",
            {"DATABASE_URL": ordinary_url(name), "REDIS_URL": django_settings.CELERY_BROKER_URL},
            {"ARTIFACT_ROOT": str(artifacts), "STATIC_ROOT": gathered_static_files, "WEB_DISPATCHES": "false"},
        )
        try:
            product.start_web()
            product.wait_until_ready()
            yield Pages(product.url, name, artifacts)
        finally:
            product.stop()


@pytest.fixture
def acme(
    browser: Browser, pages: Pages, django_db_blocker: DjangoDbBlocker, settings: Any
) -> Iterator[tuple[World, str]]:
    """A tenant with rows of every kind, and the address of the web process that serves them."""
    use_local(settings, pages.artifacts)
    with django_db_blocker.unblock(), connected_to(pages.database):
        try:
            with emptied():
                world = furnished("acme", "acme.orders")
                Worker.objects.update(alive_until=timezone.now() + timedelta(hours=1))  # nothing sends heartbeats
                person("viewer", world.tenant, Role.VIEWER)
                User.objects.create_superuser("root", password=PASSWORD)
                yield world, pages.url
        finally:
            User.objects.all().delete()  # after the votes of people, which the block above removes


@pytest.fixture
def page(browser: Browser, acme: tuple[World, str]) -> Iterator[Page]:
    """A page of that web process, logged in as root."""
    context = browser.new_context(base_url=acme[1], viewport=SCREEN)
    context.set_default_timeout(20_000)
    page = context.new_page()
    enter(page, PASSWORD)
    page.wait_for_url("**/admin/")
    yield page
    context.close()


def enter(page: Page, password: str, username: str = "root") -> None:
    """Log in."""
    page.goto("/admin/login/")
    page.fill("#id_username", username)
    page.fill("#id_password", password)
    page.get_by_role("button", name="Log in").click()
