"""What holds for the whole admin: system checks, security headers, the page *Status*, and the command palette."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.postgres.functions import TransactionNow
from django.core.checks import Tags, run_checks
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from coordinator import urls
from coordinator.models import Process
from coordinator.monitoring import gauges
from coordinator.monitoring.status import status
from coordinator.palette import executions
from executions.models import Execution, OutcomePath
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.artifact_stores import use_store
from tests.cases import cases
from tests.raw_sql import run
from tests.s3 import S3Place


def test_the_addresses_load_all_pages_and_these_pass_the_system_checks() -> None:
    assert urls.urlpatterns
    assert admin.site.is_registered(Execution)
    assert run_checks(tags=[Tags.admin]) == []


def directives(answer: Any) -> dict[str, list[str]]:
    policy = answer.headers["Content-Security-Policy"]
    return {name: values for name, *values in (each.split() for each in policy.split("; "))}


@cases(
    "address",
    [
        *("/admin/login/", "/admin/nothing/", "/nothing", "/health/live", "/static/nothing.css"),
        *("/api/v1/tenants/acme/executions", "/tpf/admin/nothing"),
    ],
)
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


def test_the_admin_runs_its_own_scripts_and_only_the_upload_page_connects_to_the_artifact_store(
    log_in: LogIn, settings: Any
) -> None:
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
    assert Process.Kind.CLOCK in status().missing
    assert "No clock reports itself." in superuser.get(reverse(PAGE)).text
    Process.objects.filter(kind="clock").update(reported_at=NOW)
    assert Process.Kind.CLOCK not in status().missing


def test_every_surface_says_how_late_outcomes_are_read(superuser: Client) -> None:
    making.tenant()
    late = TransactionNow() - timedelta(seconds=40)
    OutcomePath.objects.create(began_at=late, unread_since=late, expected_by=late + timedelta(seconds=15))
    assert "40 seconds late" in superuser.get(reverse(PAGE)).text
    [item] = superuser.get(reverse("admin:index")).context["attention"]
    assert (item.key, item.number) == ("outcomes", "40")
    assert gauges.read()[gauges.outcome_delay][()] == pytest.approx(40, abs=3)
    OutcomePath.objects.update(began_at=None, unread_since=None, expected_by=None)
    assert (status().outcome_delay, gauges.read()[gauges.outcome_delay]) == (0, {(): 0})
    assert superuser.get(reverse("admin:index")).context["attention"] == []


def found(client: Client, term: str) -> dict[str, str]:
    """Return the addresses of the results by their titles."""
    answer = client.get(to("search"), {"q": term, "part": "1"})
    assert answer.status_code == 200
    return {each.title: each.address for each in answer.context["found"]}


def test_it_finds_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "secret-1")
    stranger = log_in("stranger")
    for term in ("key-of-acme", "secret", str(acme.execution.pk), "1.0", "orders", "activate acme.orders"):
        answer = stranger.get(to("search"), {"q": term, "part": "1"})
        assert not [each for each in answer.context["found"] if "acme" in f"{each.title}{each.kind}"], term
    assert found(log_in("nobody"), "acme") == {}


def test_a_search_that_took_too_long_says_so_and_finds_the_rest(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.copies(acme.execution, 20_000)
    run("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    monkeypatch.setattr(executions, "SECONDS", 0.001)
    viewer = log_in("viewer")
    for query in ({"q": "orders", "part": "1"}, {"q": "orders"}, {"q": "nothing"}):
        answer = viewer.get(to("search"), query)
        assert "Executions were not searched to the end" in answer.text
        assert "Nothing" not in answer.text
        assert bool(answer.context["found"]) == (query["q"] == "orders")
