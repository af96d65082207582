"""My account: roles, sessions, and the time zone, in which all pages show their times."""

import re

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tenancy.models import AuditEntry, Membership, Preferences
from tenancy.roles import MEANING, Scope
from tests.admin.conftest import LogIn, World
from tests.cases import cases

ACCOUNT = "admin:account"
PAGES = ("admin:index", "admin:executions_execution_changelist", "admin:releases_release_changelist", ACCOUNT)


def choose(client: Client, zone: str) -> str:
    return client.post(reverse(ACCOUNT), {"time_zone": zone}, follow=True).text


def test_it_shows_the_roles_in_each_tenant(log_in: LogIn, acme: World, globex: World) -> None:
    client = log_in("viewer")
    viewer = User.objects.get(username="viewer")
    for role in ("operator", "release-manager"):
        Membership.objects.create(user=viewer, tenant=globex.tenant, role=role)
    answer = client.get(reverse(ACCOUNT))
    assert [(each["tenant"], each["roles"]) for each in answer.context["roles"]] == [
        ("acme", ["Viewer"]),
        ("globex", ["Operator", "Release manager"]),
    ]
    assert MEANING[Scope.OPERATE] in answer.text
    assert reverse("admin:log_out_everywhere") in answer.text
    assert reverse("admin:password_change") in answer.text


def test_the_user_menu_links_to_it(log_in: LogIn) -> None:
    assert f'href="{reverse(ACCOUNT)}"' in log_in("viewer").get(reverse("admin:index")).text


def test_all_pages_show_times_in_the_chosen_zone(log_in: LogIn, acme: World) -> None:
    client, other = log_in("superuser"), log_in("viewer")
    choose(client, "Asia/Kolkata")
    for page in PAGES:
        times = set(
            re.findall(r"\d\d:\d\d:\d\d (IST|UTC)", re.sub(r'title="[^"]*"', "", client.get(reverse(page)).text))
        )
        assert times == {"IST"}, page
        assert not re.search(r":\d\d IST", other.get(reverse(page)).text)
    choose(client, "UTC")
    assert not re.search(r":\d\d IST", client.get(reverse("admin:index")).text)
    assert Preferences.objects.get().time_zone == "UTC"


@cases("zone", ["", "Mars/Olympus", "../etc/passwd", "Etc/GMT+1", "europe/berlin", "UTC\n"])
def test_an_unknown_zone_changes_nothing(zone: str, log_in: LogIn) -> None:
    client = log_in("viewer")
    assert "Nothing changed." in choose(client, zone)
    assert not Preferences.objects.exists()


def test_a_choice_is_audited(log_in: LogIn) -> None:
    choose(log_in("viewer"), "Europe/Berlin")
    entry = AuditEntry.objects.order_by("-id")[0]
    assert (entry.act, entry.actor, entry.object, entry.outcome) == (
        "user.time_zone",
        "user:viewer",
        "viewer",
        "granted",
    )
    assert entry.details == '{"timeZone":"Europe/Berlin"}'


def test_a_zone_that_the_system_no_longer_knows_is_utc(log_in: LogIn) -> None:
    client = log_in("viewer")
    Preferences.objects.create(user=User.objects.get(username="viewer"), time_zone="Old/Zone")
    assert "UTC" in client.get(reverse(ACCOUNT)).text


def test_it_makes_few_queries(log_in: LogIn) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse(ACCOUNT))
    assert len(queries) <= 25
