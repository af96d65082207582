"""The list of executions: its search, columns, views, counts and exports."""

import csv
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from executions.models import Execution
from executions.search.columns import COLUMNS
from releases.activation.activation import activate
from tenancy.admin import bounded_list
from tenancy.models import SavedView
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded

LIST = "admin:executions_execution_changelist"
HOSTILE = '<script>alert("x")</script>'


def listed(client: Client, **query: Any) -> Any:
    return client.get(reverse(LIST), query, follow=True)


def ids(response: Any) -> set[Any]:
    return {row.pk for row in response.context["cl"].result_list}


def headings(response: Any) -> list[str]:
    return [
        " ".join(text.split())
        for text in re.findall(r'<div class="text">\s*<span>(.*?)</span>', response.text, re.DOTALL)
    ]


@pytest.fixture
def failed(acme: World) -> Execution:
    [made] = operator_rows.dead(acme, "order-17", code="NO_FUNDS", message=HOSTILE)
    return made


@cases(
    "query",
    [
        {"status": "failed"},
        {"error": "NO_FUNDS"},
        {"q": "order-"},
        {"step": "1", "status": "DLQ"},
        {"ended": "1h"},
        {"since": "1h", "release": "1.0", "pipeline": "acme.orders", "error": "NO_FUNDS"},
    ],
)
def test_a_search_shows_what_matches(query: dict[str, str], log_in: LogIn, acme: World, failed: Execution) -> None:
    response = listed(log_in("viewer"), **query)
    assert ids(response) == {failed.pk}
    assert 'data-count="1"' in response.text


def test_the_beginning_of_the_id_finds_it(log_in: LogIn, acme: World, failed: Execution) -> None:
    assert ids(listed(log_in("viewer"), q=str(acme.execution.pk)[:20])) >= {acme.execution.pk}
    assert ids(listed(log_in("viewer"), q=str(acme.execution.pk))) == {acme.execution.pk}


def test_an_invalid_condition_is_named_and_nothing_is_shown(log_in: LogIn, acme: World) -> None:
    response = listed(log_in("viewer"), step=HOSTILE, since="yesterday")
    assert response.status_code == 400
    assert ids(response) == set()
    for name in ("step", "since"):
        assert f'id="error-{name}"' in response.text
    assert f'value="{escape(HOSTILE)}"' in response.text
    assert HOSTILE not in response.text


@cases("query", ["input__n=1", "release__pipeline=1", "columns=input", "x=1"])
def test_an_unknown_parameter_is_rejected(query: str, log_in: LogIn) -> None:
    assert log_in("viewer").get(f"{reverse(LIST)}?{query}").status_code == 400


def test_the_address_has_no_empty_parameters(log_in: LogIn) -> None:
    response = log_in("viewer").get(f"{reverse(LIST)}?q=&status=live&tag=&columns=key&columns=id&p=")
    assert response.status_code == 302
    assert response["Location"] == f"{reverse(LIST)}?status=live&columns=key%2Cid"


def test_a_person_chooses_the_columns_and_the_session_remembers_them(log_in: LogIn, failed: Execution) -> None:
    client = log_in("viewer")
    assert headings(listed(client))[1:] == [
        *("Execution", "Key", "Status", "Pipeline", "Release", "Error", "Duration", "Submitted")
    ]
    chosen = listed(client, columns="tags,attempts,status")
    assert headings(chosen)[1:] == ["Execution", "Status", "Retries", "Tags"]
    assert headings(listed(client)) == headings(chosen)
    assert headings(listed(log_in("operator"))) != headings(chosen)
    every = listed(client, columns=",".join(COLUMNS))
    assert len(headings(every)) == 1 + len(COLUMNS)


def test_an_error_shows_its_message_as_inert_text(log_in: LogIn, failed: Execution) -> None:
    text = listed(log_in("operator")).text
    assert f'title="{escape(HOSTILE)}">NO_FUNDS<' in text
    assert HOSTILE not in text
    assert escape(HOSTILE) not in listed(log_in("viewer")).text


def test_ids_of_one_moment_differ_where_they_are_shown(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "a", "b")
    shown = re.findall(r"<span>([0-9a-f-]{23})</span>([0-9a-f-]{13})</a>", listed(log_in("viewer")).text)
    assert {"".join(parts) for parts in shown} == {str(pk) for pk in Execution.objects.values_list("pk", flat=True)}
    assert len({end for _, end in shown}) == len(shown) == 3


def test_the_page_of_an_execution_leads_back_to_the_same_list(log_in: LogIn, failed: Execution) -> None:
    client = log_in("viewer")
    text = listed(client, status="failed", q="order-").text
    address = re.findall(r'<a class="dc-link dc-mono dc-id" href="([^"]+)"', text)[0].replace("&amp;", "&")
    back = re.findall(r'<a class="dc-link" href="([^"]+)">.{0,90}Back to the list', client.get(address).text)[0]
    assert ids(client.get(back.replace("&amp;", "&"))) == {failed.pk}
    assert "status=failed" in back


def test_the_list_counts_up_to_a_number(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = log_in("viewer")
    with unguarded(Execution):
        making.copies(acme.execution, 60)
    assert "61 executions" in listed(client).text
    assert 'data-count="61"' in listed(client, p=2).text
    monkeypatch.setattr(bounded_list, "MOST_COUNTED", 60)
    assert "More than 10,000 executions" in listed(client).text


def test_a_list_that_takes_too_long_says_so(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 10_000)
    monkeypatch.setattr(bounded_list, "LIST_SECONDS", 0.001)
    response = listed(log_in("viewer"), by="nobody")
    assert response.status_code == 422
    assert 'data-problem="QUERY_TOO_SLOW"' in response.text
    assert ids(response) == set()
    assert 'href="?by=nobody&amp;since=24h"' in response.text
    assert "Search only" not in listed(log_in("viewer"), by="nobody", since="24h").text


def test_a_slow_search_for_a_replaced_release_can_end_with_its_replacement(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 10_000)
    client, query = log_in("viewer"), {"release": "1.0", "by": "nobody"}
    for version, offered in (("", False), ("1.1", True)):
        if version:
            activate(making.registered(acme.tenant, version, pipeline_id="acme.orders"), actor="user:test")
        with monkeypatch.context() as slow:
            slow.setattr(bounded_list, "LIST_SECONDS", 0.001)
            response = listed(client, **query)
        found = re.findall(r'href="\?([^"]*until=[^"]+)"', response.text)
        assert bool(found) == offered
        assert "since=24h" in response.text
    address = f"{reverse(LIST)}?{found[0].replace('&amp;', '&')}"
    assert client.get(address.replace("by=nobody", "")).context["requested"].problem is None


@cases("who", ["viewer", "superuser"])
def test_the_list_needs_few_queries(who: str, log_in: LogIn, acme: World, globex: World) -> None:
    client = log_in(who)
    with unguarded(Execution):
        making.copies(acme.execution, 60)
    query = {"columns": ",".join(COLUMNS), "q": "k", "since": "1d", "by": "me", "step": "1"}
    for each in ({}, query):
        listed(client, **each)
        with CaptureQueriesContext(connection) as queries:
            assert listed(client, **each).status_code == 200
        assert len(queries) <= 25, [query["sql"][:90] for query in queries]


# --- exports ---


def export(client: Client, form: str = "csv", **query: Any) -> Any:
    return client.get(reverse("admin:executions_execution_export", args=[form]), query)


def test_an_export_has_what_the_list_shows(log_in: LogIn, acme: World, failed: Execution) -> None:
    response = export(log_in("viewer"), columns="id,key,error", status="failed")
    lines = list(csv.reader(StringIO(response.getvalue().decode())))
    assert lines == [["id", "key", "error"], [str(failed.pk), "order-17", "NO_FUNDS"]]
    assert response["Content-Disposition"] == 'attachment; filename="executions.csv"'
    text = export(log_in("viewer"), "ndjson", columns="id", q="order-").getvalue().decode()
    assert text == f'{{"id":"{failed.pk}"}}\n'


def test_an_export_has_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    assert "acme" not in export(log_in("stranger")).getvalue().decode()
    assert len(export(log_in("stranger"), q=str(acme.execution.pk)).getvalue().splitlines()) == 1


def test_someone_without_a_tenant_exports_nothing(log_in: LogIn) -> None:
    assert export(log_in("nobody")).status_code == 404


def test_an_invalid_export_leads_back_to_the_list(log_in: LogIn) -> None:
    response = export(log_in("viewer"), step="x")
    assert response["Location"] == f"{reverse(LIST)}?step=x"
    assert export(log_in("viewer"), "xml").status_code == 404


# --- views ---


def save(client: Client, **fields: str) -> Any:
    return client.post(reverse("admin:executions_execution_save_view"), {"name": "ours", **fields}, follow=True)


def current(response: Any) -> list[str]:
    return [tab.name for tab in response.context["tabs"] if tab.current]


def test_the_built_in_views_are_above_the_list(log_in: LogIn, acme: World, failed: Execution) -> None:
    client = log_in("viewer")
    assert current(listed(client)) == ["All"]
    failures = listed(client, status="failed", ended="1h")
    assert (current(failures), ids(failures)) == (["Failed in the last hour"], {failed.pk})
    assert current(listed(client, status="failed", ended="1h", columns="id")) == ["Failed in the last hour"]
    question = operator_rows.question(acme)
    assert ids(listed(client, status="WAITING_EXTERNAL")) == {question.execution_id}
    with unguarded(Execution):
        Execution.objects.filter(pk=failed.pk).update(submitted_by="user:viewer")
    assert ids(listed(client, by="me", since="7d")) == {failed.pk}


def test_a_view_is_saved_with_its_filters_and_columns(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    response = save(client, query="status=live&columns=id%2Ckey&p=3&q=")
    assert response.redirect_chain == [(f"{reverse(LIST)}?status=live&columns=id%2Ckey", 302)]
    assert current(response) == ["ours"] or current(response) == ["Live", "ours"]
    assert "ours" not in [tab.name for tab in listed(log_in("operator")).context["tabs"]]
    client.post(reverse("admin:executions_execution_remove_view", args=[SavedView.objects.get().pk]))
    assert not SavedView.objects.exists()


def test_a_shared_view_is_a_tab_for_each_member(log_in: LogIn, acme: World, globex: World) -> None:
    save(log_in("operator"), query="status=live", tenant="acme")
    [shared] = [tab for tab in listed(log_in("viewer")).context["tabs"] if tab.shared_with]
    assert (shared.name, shared.shared_with, shared.view_id) == ("ours", "acme", None)
    assert not [tab for tab in listed(log_in("stranger")).context["tabs"] if tab.shared_with]


@cases("query", ["step=x", "input__n=1", "columns=input"])
def test_a_view_with_an_invalid_query_is_not_saved(query: str, log_in: LogIn) -> None:
    save(log_in("viewer"), query=query)
    assert not SavedView.objects.exists()


def test_a_name_that_is_taken_is_named_and_shown_as_inert_text(log_in: LogIn) -> None:
    client = log_in("viewer")
    save(client, query="", name=HOSTILE)
    text = save(client, query="", name=HOSTILE).text
    assert "There is already a view named" in text
    assert HOSTILE not in text
    assert User.objects.get(username="viewer").pk == SavedView.objects.get().owner_id
