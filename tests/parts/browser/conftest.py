from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page
from pytest_django import DjangoDbBlocker

from executions.models import Worker
from tenancy.roles import Role
from tests.admin.conftest import World, furnished, person
from tests.artifact_stores import use_local
from tests.browsing import SCREEN, browser, log_in
from tests.database_template import connected_to, database
from tests.e2e.conftest import tenant, v1
from tests.race_database import emptied
from tests.running import PASSWORD, another_product
from tests.servers import NUMBER, ordinary_url

__all__ = ["browser", "log_in", "tenant", "v1"]


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
    settings = {"STATIC_ROOT": gathered_static_files, "WEB_DISPATCHES": "false"}
    with database(f"test_{NUMBER}_pages") as name:
        servers = {"DATABASE_URL": ordinary_url(name), "REDIS_URL": django_settings.CELERY_BROKER_URL}
        with another_product(tmp_path_factory.mktemp("pages"), servers, settings) as product:
            product.start_web()
            product.wait_until_ready()
            yield Pages(product.url, name, Path(product.environment["ARTIFACT_ROOT"]))


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
    page.goto("/admin/login/")
    page.fill("#id_username", username)
    page.fill("#id_password", password)
    page.get_by_role("button", name="Log in").click()


def tab_to(page: Page, to: Locator) -> None:
    for _ in range(200):
        if to.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {to}")
