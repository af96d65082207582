"""A journey with e-mail: a web process, a control worker and a mail server."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker

from embedded.product import Product
from tenancy.models import Membership
from tenancy.roles import Role
from tests import making
from tests.broker import spare_urls
from tests.building import eventually
from tests.database_template import connected_to, database
from tests.mail_server import MailServer, mail_server
from tests.parts.browser.journeys.conftest import Journey
from tests.race_database import emptied
from tests.running import PASSWORD, another_product
from tests.servers import NUMBER, ordinary_url

NAME = f"test_{NUMBER}_invitations"


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture(scope="module")
def product(
    mails: MailServer, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory, gathered_static_files: str
) -> Iterator[Product]:
    chosen = {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(mails.port),
        "EMAIL_SECURITY": "none",
        "EMAIL_FROM": "coordinator@acme.example",
        "PUBLIC_URL": "https://coordinator.example",
        "STATIC_ROOT": gathered_static_files,
    }
    with database(NAME) as name:
        servers = {"DATABASE_URL": ordinary_url(name), "REDIS_URL": spare_urls()[0]}
        with another_product(tmp_path_factory.mktemp("invitations"), servers, chosen) as made:
            made.start_web()
            made.start_control_worker(queues=["webhooks"])
            made.wait_until_ready()
            yield made


@pytest.fixture
def acme(product: Product, django_db_blocker: DjangoDbBlocker) -> Iterator[Product]:
    """A tenant whose admin is root."""
    with django_db_blocker.unblock(), connected_to(NAME):
        with emptied():
            admin = User.objects.create_user("root", password=PASSWORD, is_staff=True)
            Membership.objects.create(user=admin, tenant=making.tenant("acme"), role=Role.TENANT_ADMIN)
            yield product
        User.objects.all().delete()


def links_to(address: str, mails: MailServer) -> list[str]:
    texts = [str(mail.message.get_payload()) for mail in mails.mails if address in str(mail.message["To"])]
    return [path for text in texts for path in re.findall(r"https://coordinator\.example(\S+)", text)]


def test_member_invited(journey: Journey, acme: Product, mails: MailServer, name: str) -> None:
    """An admin invites Eva, who joins, signs in with another browser, and ends the session of the first one."""
    address = f"{name}@acme.example"
    admin = journey.visitor(acme.url).signs_in("root").goes_to("Members").opens("Invitations").opens("Invite a person")
    admin.fills("E-mail address", address.upper()).ticks("Operator").presses("Send the invitation").sees(address)
    [path] = eventually(lambda: links_to(address, mails), what="the e-mail")
    eva = journey.visitor(acme.url).visits(path).sees("with the role Operator")
    eva.fills("First name", "Eva").fills("Last name", "Maier")
    eva.fills("Password", PASSWORD).fills("Password again", PASSWORD)
    eva.presses("Accept and log in").sees("Overview")
    joined = Membership.objects.filter(user__username=address, user__last_name="Maier")
    assert [(membership.tenant.slug, membership.role) for membership in joined] == [("acme", Role.OPERATOR)]
    admin.goes_to("Members").sees(address)
    other = journey.visitor(acme.url).signs_in(address).goes_to_account("My account")
    other.presses("End the session of Chrome on Linux").sees_not("End the session")
    eva.visits("/admin/").sees("Log in")
