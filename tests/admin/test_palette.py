"""The command palette finds what the user may see, and nothing else."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from coordinator.palette import executions
from executions.models import Execution
from releases.models import Pipeline
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import as_owner, check_foreign_keys_now, unguarded

SEARCH = "/admin/search/"


def found(client: Client, term: str) -> dict[str, str]:
    """Return the addresses of the results by their titles."""
    answer = client.get(SEARCH, {"q": term, "part": "1"})
    assert answer.status_code == 200
    return {each.title: each.address for each in answer.context["found"]}


def test_it_is_the_page_that_the_frame_links_to(log_in: LogIn) -> None:
    assert reverse("admin:search") == SEARCH
    text = log_in("viewer").get(reverse("admin:index")).text
    assert f'href="{SEARCH}"' in text
    assert "<dialog" in text


@cases("term", ["key-of-acme", "key-of", "ke"])
def test_it_finds_executions_by_the_beginning_of_their_key(term: str, log_in: LogIn, acme: World) -> None:
    page = reverse("admin:executions_execution_change", args=[acme.execution.pk])
    assert found(log_in("viewer"), term)["Execution key-of-acme"] == page


@cases("term", ["y-of-acme", "KEY-OF", "k", "key-of-acmee", "key_of", "%"])
def test_other_parts_of_a_key_find_nothing(term: str, log_in: LogIn) -> None:
    assert "Execution key-of-acme" not in found(log_in("viewer"), term)


def test_it_finds_executions_by_the_beginning_of_their_id(log_in: LogIn, acme: World) -> None:
    client, text = log_in("viewer"), str(acme.execution.pk)
    for term in (text, text[:23], text[:4], text.upper(), text.replace("-", "")[:12]):
        assert "Execution key-of-acme" in found(client, term), term
    assert "Execution key-of-acme" not in found(client, text[:3])
    assert "Execution key-of-acme" not in found(client, text[:-1] + ("0" if text[-1] != "0" else "1"))


def test_the_execution_with_exactly_the_key_is_the_first(log_in: LogIn, acme: World) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 30)
    assert next(iter(found(log_in("viewer"), "k1"))) == "Execution k1"


def test_a_search_that_takes_too_long_finds_no_executions(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = log_in("viewer")
    check_foreign_keys_now()
    with as_owner(), connection.cursor() as cursor:  # a row takes longer to read than the search may take
        cursor.execute("CREATE POLICY slow ON executions_execution USING (pg_sleep(0.2) IS NOT NULL)")
        cursor.execute("ALTER TABLE executions_execution ENABLE ROW LEVEL SECURITY")
        cursor.execute("ALTER TABLE executions_execution FORCE ROW LEVEL SECURITY")
    for seconds, is_found in ((20, True), (0.05, False)):
        monkeypatch.setattr(executions, "SECONDS", seconds)
        assert ("Execution key-of-acme" in found(client, "key-of-acme")) == is_found


def test_it_finds_pipelines_and_releases_by_any_part(log_in: LogIn, acme: World) -> None:
    making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    titles = found(log_in("release-manager"), "ORDERS 2.0").keys()
    assert titles == {"Release 2.0 of acme.orders", "Activate 2.0 of acme.orders"}
    assert "acme.orders" in found(log_in("viewer"), "cme.ord")


def test_acts_are_found_only_by_users_who_may_do_them(log_in: LogIn, acme: World) -> None:
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    manager = found(log_in("release-manager"), "activate 2.0 of acme.orders")
    assert manager["Activate 2.0 of acme.orders"] == reverse("admin:releases_release_activate", args=[release.pk])
    for term in ("activate 2.0 of acme.orders", "pause acme.orders", "upload", "campaign", "token"):
        acts = [
            title
            for title in found(log_in("viewer"), term)
            if title.split()[0] in ("Activate", "Pause", "Upload", "Start", "Issue")
        ]
        assert acts == [], term
    assert "Upload a release" in found(log_in("release-manager"), "upload")
    assert "Start a campaign" in found(log_in("operator"), "campaign")
    assert "Issue an API token" in found(log_in("tenant-admin"), "token")


def test_it_finds_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "secret-1")
    stranger = log_in("stranger")
    for term in ("key-of-acme", "secret", str(acme.execution.pk), "acme", "1.0", "orders", "activate acme.orders"):
        answer = stranger.get(SEARCH, {"q": term, "part": "1"})
        assert not [each for each in answer.context["found"] if "acme" in f"{each.title}{each.kind}"], term
    assert found(log_in("nobody"), "acme") == {}


def test_an_empty_term_lists_the_pages(log_in: LogIn) -> None:
    titles = found(log_in("viewer"), "").keys()
    assert {"Overview", "Pipelines", "Executions", "Workers", "My account"} <= titles
    assert not titles & {"Users", "Members", "Upload a release"}
    assert "Users" in found(log_in("superuser"), "")


def test_hostile_terms_are_harmless(log_in: LogIn) -> None:
    client = log_in("viewer")
    for term in ("<script>alert(1)</script>", "' OR 1=1 --", "%%%", "\U0010ffff", "é" * 400, "a" * 5000, "[" * 20):
        answer = client.get(SEARCH, {"q": term})
        assert answer.status_code == 200
        assert "<script>alert(1)" not in answer.text


def test_it_only_reads(log_in: LogIn) -> None:
    assert log_in("viewer").post(SEARCH, {"q": "x"}).status_code in (403, 405)


def test_a_user_without_a_session_is_sent_to_the_log_in(log_in: LogIn) -> None:
    answer = log_in("anonymous").get(SEARCH, {"q": "acme", "part": "1"})
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:login"))


def test_the_number_of_queries_is_bounded(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    for version in ("2.0", "3.0", "4.0"):
        making.registered(acme.tenant, version, pipeline_id="acme.orders")
    with CaptureQueriesContext(connection) as queries:
        assert len(found(client, "acme")) > 5
    assert len(queries) <= 25
    assert Pipeline.objects.exists()
