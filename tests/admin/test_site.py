import csv
import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.postgres.functions import TransactionNow
from django.core.checks import Tags, run_checks
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from coordinator import navigation, palette, urls
from coordinator.models import Process
from coordinator.monitoring import gauges
from coordinator.monitoring.status import status
from executions.models import DeadLetter, Execution, OutcomePath, SearchValue
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import exported, to
from tests.admin.conftest import LogIn, World
from tests.artifact_stores import use_store
from tests.cases import cases
from tests.raw_sql import run, slow, unguarded
from tests.s3 import S3Place
from tests.words import words


def test_the_addresses_load_all_pages_and_these_pass_the_system_checks() -> None:
    assert urls.urlpatterns
    assert admin.site.is_registered(Execution)
    assert run_checks(tags=[Tags.admin]) == []


def directives(answer: Any) -> dict[str, list[str]]:
    policy = answer.headers["Content-Security-Policy"]
    return {name: values for name, *values in (directive.split() for directive in policy.split("; "))}


ADDRESSES = "/admin/login/ /admin/x/ /nothing /health/live /static/x.css /api/v1/tenants/acme/executions /tpf/admin/x"


@cases("address", words(ADDRESSES))
def test_every_response_has_the_security_headers(address: str, acme: World) -> None:
    answer = Client().get(address)
    policy, headers = directives(answer), answer.headers
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", [])
    assert headers["X-Content-Type-Options"] == "nosniff"
    for name in ("Referrer-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"):
        assert headers[name] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    if not address.startswith("/admin/"):
        assert policy.keys().isdisjoint({"script-src", "connect-src"})
        assert policy["form-action"] == ["'none'"]


def test_the_admin_runs_its_own_scripts_and_only_the_upload_page_calls_the_store(log_in: LogIn, settings: Any) -> None:
    client = log_in("superuser")
    place = S3Place("releases", region="eu-central-1", access_key_id="key", secret_access_key="key")
    for endpoint, public, style, expected in (
        ("http://s3.internal:9000", "https://s3.example/base", "path", ["https://s3.example"]),
        ("", "", "auto", ["https://releases.s3.eu-central-1.amazonaws.com", "https://releases.s3.amazonaws.com"]),
    ):
        place = replace(place, endpoint_url=endpoint, public_endpoint_url=public)
        use_store(settings, "s3", place.backend(settings.ARTIFACT_ROOT, addressing_style=style))
        assert directives(client.get(to("releases_release_upload")))["connect-src"] == ["'self'", *expected]
        policy = directives(client.get(to("index")))
        assert policy["script-src"] == ["'self'", "'unsafe-eval'"]
        assert policy["connect-src"] == policy["form-action"] == policy["font-src"] == ["'self'"]


pytestmark = pytest.mark.django_db
NOW = Now()
PAGE = "admin:coordinator_process_changelist"


@pytest.fixture
def superuser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def reported() -> Process:
    """A clock that has just reported itself, with a time of long ago."""
    return Process.objects.create(
        kind="clock", host="far.example", pid=7, version="0", started_at=NOW, reported_at=NOW, drift_seconds=-3600
    )


def test_a_process_is_shown_with_its_clock_and_missed_when_it_is_silent(reported: Process, superuser: Client) -> None:
    text = superuser.get(reverse(PAGE)).text
    assert [reported.host in text, ">drifts<" in text.replace("\n", "").replace(" ", "")] == [True, True]
    Process.objects.filter(kind="clock").update(reported_at="2020-01-01T00:00:00Z")
    assert Process.Kind.CLOCK in status()["missing"]
    assert "No clock reports itself." in superuser.get(reverse(PAGE)).text
    Process.objects.filter(kind="clock").update(reported_at=NOW)
    assert Process.Kind.CLOCK not in status()["missing"]


def test_every_surface_says_how_late_outcomes_are_read(superuser: Client) -> None:
    making.tenant()
    late = TransactionNow() - timedelta(seconds=40)
    OutcomePath.objects.create(began_at=late, unread_since=late, expected_by=late + timedelta(seconds=15))
    assert "40 seconds late" in superuser.get(reverse(PAGE)).text
    [item] = superuser.get(reverse("admin:index")).context["attention"]
    assert (item.key, item.number) == ("outcomes", "40")
    assert gauges.read()[gauges.outcome_delay][()] == pytest.approx(40, abs=3)
    OutcomePath.objects.update(began_at=None, unread_since=None, expected_by=None)
    assert (status()["outcome_delay"], gauges.read()[gauges.outcome_delay]) == (0, {(): 0})
    assert superuser.get(reverse("admin:index")).context["attention"] == []


def results_of(client: Client, term: str) -> dict[str, str]:
    answer = client.get(to("search"), {"q": term, "part": "1"})
    assert answer.status_code == 200
    return {item.title: item.address for item in answer.context["found"]}


def test_it_finds_acts_that_the_role_may_do(log_in: LogIn, acme: World) -> None:
    making.active(acme.tenant, "2.0", pipeline_id="acme.orders")
    assert results_of(log_in("nobody"), "acme") == {}
    for who, is_shown in {"viewer": False, "on-call": True, "superuser": True}.items():
        assert ("Roll back acme.orders" in results_of(log_in(who), "roll back acme.orders")) is is_shown
        assert {"What was active?", "Fleet"} <= {*results_of(log_in(who), "active"), *results_of(log_in(who), "fleet")}


def test_it_finds_executions_and_their_questions_and_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    question = operator_rows.question(acme, "order-4711")
    asks = question.execution
    with unguarded(SearchValue):
        for value in ({"name": "customer", "text": "c-17"}, {"name": "total", "number": "12.5"}):
            SearchValue.objects.create(execution=asks, pipeline=asks.release.pipeline, **value)
    viewer, stranger = log_in("viewer"), log_in("stranger")
    pages = {to("executions_execution_change", asks), to("executions_interaction_change", question)}
    names = ("c-17", "12.50", "order-4711", "order-47", str(asks.pk), str(asks.pk)[:30], str(question.pk))
    assert [term for term in names if set(results_of(viewer, term).values()) != pages] == []
    for term in (*names, "1.0", "orders", "activate acme.orders"):
        answer = stranger.get(to("search"), {"q": term, "part": "1"})
        assert not [item for item in answer.context["found"] if "acme" in f"{item.title}{item.kind}"], term
    assert "customer c-17, WAITING_EXTERNAL" in viewer.get(to("search"), {"q": "c-17"}).text


def test_a_search_that_took_too_long_says_so(log_in: LogIn, acme: World) -> None:
    making.copies(acme.execution, 20_000)
    run("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    viewer = log_in("viewer")
    for query in ({"q": "orders", "part": "1"}, {"q": "orders"}, {"q": "nothing"}):
        answer: Any = palette.search(viewer.get(to("search"), query).wsgi_request, seconds=0.001)
        assert "Executions were not searched to the end" in answer.render().text
        assert "Nothing" not in answer.text
        assert bool(answer.context_data["found"]) == (query["q"] == "orders")


def test_the_menu_has_what_the_role_may_see_and_the_other_lists_are_tabs(log_in: LogIn, acme: World) -> None:
    everyone = ["Pipelines", "Releases", "Activation requests", "Executions", "Questions"]
    everyone += ["Failures", "Workers", "Alerts"]
    admins, tabs = [*everyone, "Tenants", "Members", "Audit log"], ["Members", "Invitations", "API tokens", "Users"]
    for who, titles, people in (
        ("nobody", [], []),
        ("viewer", everyone, []),
        ("tenant-admin", admins, tabs[:3]),
        ("superuser", admins, tabs),
    ):
        client = log_in(who)
        shown = navigation.navigation(client.get(to("index")).wsgi_request)
        assert [link.title for group in shown for link in group.links] == ["Overview", *titles]
        if people:
            assert [tab.title for tab in client.get(to("tenancy_apitoken_changelist")).context["menu_tabs"]] == people
            assert client.get(to("tenancy_apitoken_change", acme.token)).context["menu_tabs"] == ()
    page = log_in("viewer").get(to("releases_trustedkey_changelist"))
    tabs_of_releases = {"Releases": False, "Smoke tests": False, "Trusted keys": True}
    assert {tab.title: tab.active for tab in page.context["menu_tabs"]} == tabs_of_releases
    shown = navigation.navigation(page.wsgi_request)
    assert [link.title for group in shown for link in group.links if link.active] == ["Releases"]


ENTRIES = "tenancy_auditentry"
LIST = f"{ENTRIES}_changelist"
ACT = "act=quotas.change"


def add(world: World | None, thing: str, **details: Any) -> None:
    tenant = world.tenant if world else None
    members = {"object_type": "thing", "object": thing, "reason": "<b>why</b>"}
    audit.record(Act.QUOTAS_CHANGE, tenant=tenant, actor="user:eva", **members, **details)


def objects(client: Client, query: str) -> list[str]:
    return [row["object"] for row in csv.DictReader(StringIO(exported(client, ENTRIES, "csv", query)))]


def test_the_list_shows_the_entries_of_the_tenant(log_in: LogIn, admin: Client, acme: World, globex: World) -> None:
    names = ("ours", "theirs", "of-the-installation")
    for world, name in zip((acme, globex, None), names, strict=True):
        add(world, name, decision="approve", nothing=None, why="<b>")
    page = admin.get(to(LIST)).text
    assert [name in page for name in names] == [True, False, False]
    assert "<b>" not in page.partition('id="result_list"')[2]
    assert all(name in log_in("superuser").get(to(LIST)).text for name in names)
    entry = AuditEntry.objects.get(tenant=None, act=Act.QUOTAS_CHANGE)
    address = to("tenancy_auditentry_change", entry)
    assert [log_in(who).get(address).status_code for who in ("superuser", "tenant-admin")] == [200, 404]


def test_the_filters_select_entries_and_exports(log_in: LogIn, admin: Client, acme: World, globex: World) -> None:
    for world, name in ((acme, "one"), (acme, "two"), (globex, "theirs"), (None, "three")):
        add(world, name)
    client, everything = log_in("superuser"), ["one", "theirs", "three", "two"]
    for query, expected in {
        "": everything,
        "&tenant=acme": ["one", "two"],
        "&tenant=-": ["three"],
        "&object=two": ["two"],
        "&outcome=denied": [],
        "&actor=user:eva&from=2020-01-01&tenant=acme": ["one", "two"],
        "&to=2020-01-01T00:00:00Z": [],
        "&from=nonsense": [],
    }.items():
        assert sorted(objects(client, ACT + query)) == expected, query
        assert len(exported(client, ENTRIES, "ndjson", ACT + query).splitlines()) == len(expected)
        assert client.get(f"{to(LIST)}?{ACT}{query}").status_code == 200
    assert sorted(objects(admin, ACT)) == ["one", "two"]
    assert admin.get(to("tenancy_auditentry_export", "xml")).status_code == 404
    add(acme, "x", number=1)
    [line] = exported(admin, ENTRIES, "ndjson", f"{ACT}&object=x").splitlines()
    assert json.loads(line)["details"] == {"number": 1}


PASSWORD = "correct horse battery"


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("id"))


def test_a_changed_user_leaves_an_entry_without_the_password(log_in: LogIn, acme: World) -> None:
    client, mia = log_in("superuser"), User.objects.get(username="viewer")
    before = len(entries())
    client.post(to("auth_user_change", mia), {"username": "mia", "is_superuser": "on"})
    client.post(to("auth_user_password_change", mia), {"password1": PASSWORD, "password2": PASSWORD})
    changed, *renewed = entries()[before:]
    assert (changed.act, renewed[0].act) == ("user.change", "user.password")
    for text in ('"is_active":false', '"is_superuser":true'):
        assert text in changed.details
    assert PASSWORD not in str(AuditEntry.objects.values())


def test_log_ins_and_log_outs_leave_entries(acme: World, settings: Any, fast_hashing: None) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client, before = Client(), len(entries())
    settings.LOGIN_ATTEMPTS = 2
    for username, password in (("root", "wrong"), (PASSWORD, "wrong"), ("root", PASSWORD)):
        client.post(to("login"), {"username": username, "password": password})
    client.post(to("logout"))
    for _ in range(6):
        Client().post(to("login"), {"username": "viewer", "password": "wrong"})
    newest = entries()[before:]
    assert [(entry.act, entry.outcome, entry.actor, entry.object) for entry in newest[:4]] == [
        ("user.log_in", "failed", "anonymous", "root"),
        ("user.log_in", "failed", "anonymous", "(unknown)"),
        ("user.log_in", "granted", "user:root", "root"),
        ("user.log_out", "granted", "user:root", "root"),
    ]
    assert [entry.outcome for entry in newest[4:]] == ["failed", "denied"]
    assert all(entry.tenant is None and entry.address == "127.0.0.1" for entry in newest)


def test_a_list_that_takes_too_long_shows_no_rows(acme: World, log_in: LogIn, settings: Any) -> None:
    settings.LIST_SECONDS = 0.1
    client = log_in("tenant-admin-of-acme")
    for model in (DeadLetter, Execution):
        with slow(model):
            page = client.get(to(f"executions_{model._meta.model_name}_changelist"))
        assert page.text.count('data-problem="QUERY_TOO_SLOW"') == 1
