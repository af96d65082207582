"""A person is invited, joins, and ends a session: a web process, a control worker and a mail server."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoDbBlocker

from embedded.product import Product
from tenancy.models import Membership
from tenancy.roles import Role
from tests import making
from tests.browsing import AXE, findings
from tests.building import eventually
from tests.database_template import connected_to, database
from tests.mail_server import MailServer, mail_server
from tests.parts.browser.conftest import enter
from tests.running import PASSWORD, another_product
from tests.servers import NUMBER, ordinary_url

NAME, NEW = f"test_{NUMBER}_invitations", "correct-horse-battery-staple"


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def product(
    mails: MailServer,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    gathered_static_files: str,
) -> Iterator[Product]:
    chosen = {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(mails.port),
        "EMAIL_SECURITY": "none",
        "EMAIL_FROM": "coordinator@acme.example",
        "PUBLIC_URL": "https://coordinator.example",
        "STATIC_ROOT": gathered_static_files,
    }
    with django_db_blocker.unblock(), database(NAME) as name, connected_to(name):
        servers = {"DATABASE_URL": ordinary_url(name), "REDIS_URL": settings.CELERY_BROKER_URL}
        with another_product(tmp_path_factory.mktemp("invitations"), servers, chosen) as made:
            admin = User.objects.create_user("root", password=PASSWORD, is_staff=True)
            Membership.objects.create(user=admin, tenant=making.tenant("acme"), role=Role.TENANT_ADMIN)
            made.start_web()
            made.start_control_worker(queues=["webhooks"])
            made.wait_until_ready()
            yield made


def is_sound(page: Page) -> None:
    page.evaluate(AXE)
    assert list(findings(page)) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_person_is_invited_joins_by_keyboard_and_ends_a_session(
    browser: Browser, product: Product, mails: MailServer, width: int, scheme: Any
) -> None:
    screen = {"base_url": product.url, "viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    contexts = [browser.new_context(**screen) for _ in range(2)]
    inviter, invited = (context.new_page() for context in contexts)
    enter(inviter, PASSWORD)
    inviter.goto("/admin/tenancy/invitation/")
    inviter.get_by_role("link", name="Invite a person").click()
    inviter.get_by_label("E-mail address").fill("Eva@acme.example")
    inviter.check("input[value=operator]")
    is_sound(inviter)
    inviter.get_by_role("button", name="Send the invitation").click()
    expect(inviter.locator("[data-invitation]")).to_contain_text("eva@acme.example")
    eventually(lambda: bool(mails.mails), what="the e-mail")
    [path] = re.findall(r"https://coordinator\.example(\S+)", str(mails.mails[0].message.get_payload()))
    inviter.reload()
    is_sound(inviter)
    invited.goto(path)
    is_sound(invited)
    invited.focus("#id_first_name")
    for text in ("Eva", "Maier", NEW, NEW):
        invited.keyboard.type(text)
        invited.keyboard.press("Tab")
    invited.keyboard.press("Enter")
    invited.wait_for_url(f"{product.url}/admin/")
    contexts[0].clear_cookies()
    enter(inviter, NEW, "eva@acme.example")
    inviter.goto("/admin/auth/user/account/")
    is_sound(inviter)
    expect(inviter.locator("[data-sessions] tbody tr")).to_have_count(2)
    inviter.get_by_role("button", name="End the session of Chrome on Linux").press("Enter")
    expect(inviter.locator("[data-sessions] tbody tr")).to_have_count(1)
    invited.reload()
    expect(invited.locator("#id_password")).to_be_visible()
    for context in contexts:
        context.close()
