"""The list of executions: its search, columns, views, counts, exports, and acts on what it shows."""

import csv
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from executions.models import Campaign, CampaignItem, Execution
from executions.search.columns import COLUMNS
from releases.activation.activation import activate
from releases.models import Release
from tenancy.admin import bounded_list
from tenancy.models import Membership, SavedView
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded

LIST = "executions_execution_changelist"
KINDS = Campaign.Kind.values


@pytest.fixture
def failed(acme: World) -> Execution:
    [made] = operator_rows.dead(acme, "order-17", code="NO_FUNDS", message=MARKUP)
    return made


def shown(client: Client, **query: Any) -> Any:
    return client.get(to(LIST), query, follow=True)


def ids(response: Any) -> set[Any]:
    return {row.pk for row in response.context["cl"].result_list}


def headings(response: Any) -> list[str]:
    found = re.findall(r'<div class="text">\s*<span>(.*?)</span>', response.text, re.DOTALL)
    return [" ".join(text.split()) for text in found]


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
def test_a_search_shows_what_matches(query: dict[str, str], viewer: Client, failed: Execution) -> None:
    response = shown(viewer, **query)
    assert ids(response) == {failed.pk}
    assert 'data-count="1"' in response.text


def test_an_execution_is_found_by_its_id_which_tells_those_of_one_moment_apart(viewer: Client, acme: World) -> None:
    operator_rows.dead(acme, "a", "b")
    assert ids(shown(viewer, q=str(acme.execution.pk)[:20])) >= {acme.execution.pk}
    assert ids(shown(viewer, q=str(acme.execution.pk))) == {acme.execution.pk}
    parts = re.findall(r"<span>([0-9a-f-]{23})</span>([0-9a-f-]{13})</a>", shown(viewer).text)
    assert {"".join(each) for each in parts} == {str(pk) for pk in Execution.objects.values_list("pk", flat=True)}
    assert len({end for _, end in parts}) == len(parts) == 3


def test_invalid_conditions_are_named_and_unknown_ones_rejected(viewer: Client) -> None:
    response = shown(viewer, step=MARKUP, since="yesterday")
    assert (response.status_code, ids(response)) == (400, set())
    for name in ("step", "since"):
        assert f'id="error-{name}"' in response.text
    assert f'value="{escape(MARKUP)}"' in response.text
    assert MARKUP not in response.text
    for query in ("input__n=1", "release__pipeline=1", "columns=input", "x=1"):
        assert viewer.get(f"{to(LIST)}?{query}").status_code == 400
    response = viewer.get(f"{to(LIST)}?q=&status=live&tag=&columns=key&columns=id&p=")
    assert response["Location"] == f"{to(LIST)}?status=live&columns=key%2Cid", "no empty parameters"


def test_a_person_chooses_the_columns_and_the_session_remembers_them(
    viewer: Client, operator: Client, failed: Execution
) -> None:
    usual = ["Execution", "Key", "Status", "Pipeline", "Release", "Error", "Duration", "Submitted"]
    assert headings(shown(viewer))[1:] == usual
    chosen = headings(shown(viewer, columns="tags,attempts,status"))
    assert chosen[1:] == ["Execution", "Status", "Retries", "Tags"]
    assert headings(shown(viewer)) == chosen != headings(shown(operator))
    assert len(headings(shown(viewer, columns=",".join(COLUMNS)))) == 1 + len(COLUMNS)


def test_an_error_shows_its_message_as_inert_text_to_readers_of_payloads(
    viewer: Client, operator: Client, failed: Execution
) -> None:
    text = shown(operator).text
    assert f'title="{escape(MARKUP)}">NO_FUNDS<' in text
    assert MARKUP not in text
    assert escape(MARKUP) not in shown(viewer).text


def test_the_page_of_an_execution_leads_back_to_the_same_list(viewer: Client, failed: Execution) -> None:
    text = shown(viewer, status="failed", q="order-").text
    address = re.findall(r'<a class="dc-link dc-mono dc-id" href="([^"]+)"', text)[0].replace("&amp;", "&")
    back = re.findall(r'<a class="dc-link" href="([^"]+)">.{0,90}Back to the list', viewer.get(address).text)[0]
    assert ids(viewer.get(back.replace("&amp;", "&"))) == {failed.pk}
    assert "status=failed" in back


def test_the_list_counts_up_to_a_number(viewer: Client, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 60)
    assert "61 executions" in shown(viewer).text
    assert 'data-count="61"' in shown(viewer, p=2).text
    monkeypatch.setattr(bounded_list, "MOST_COUNTED", 60)
    assert "More than 10,000 executions" in shown(viewer).text


def test_a_list_that_takes_too_long_says_so_and_proposes_a_shorter_one(
    viewer: Client, acme: World, newer: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a release that was replaced, the search can end with its replacement."""
    with unguarded(Execution):
        making.copies(acme.execution, 10_000)

    def slow(**query: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(bounded_list, "LIST_SECONDS", 0.001)
            return shown(viewer, **query)

    response = slow(by="nobody")
    assert (response.status_code, ids(response)) == (422, set())
    assert 'data-problem="QUERY_TOO_SLOW"' in response.text
    assert 'href="?by=nobody&amp;since=24h"' in response.text
    assert "Search only" not in slow(by="nobody", since="24h").text
    until = r'href="\?([^"]*until=[^"]+)"'
    assert not re.findall(until, slow(release="1.0", by="nobody").text)
    activate(newer, actor="user:test")
    [found, *_] = re.findall(until, slow(release="1.0", by="nobody").text)
    address = f"{to(LIST)}?{found.replace('&amp;', '&')}"
    assert viewer.get(address.replace("by=nobody", "")).context["requested"].problem is None


# --- exports ---


def export(client: Client, form: str = "csv", **query: Any) -> Any:
    return client.get(to("executions_execution_export", form), query)


def test_an_export_has_what_the_list_shows_and_nothing_of_another_tenant(
    log_in: LogIn, viewer: Client, acme: World, failed: Execution
) -> None:
    response = export(viewer, columns="id,key,error", status="failed")
    lines = list(csv.reader(StringIO(response.getvalue().decode())))
    assert lines == [["id", "key", "error"], [str(failed.pk), "order-17", "NO_FUNDS"]]
    assert response["Content-Disposition"] == 'attachment; filename="executions.csv"'
    text = export(viewer, "ndjson", columns="id", q="order-").getvalue().decode()
    assert text == f'{{"id":"{failed.pk}"}}\n'
    stranger = log_in("stranger")
    assert "acme" not in export(stranger).getvalue().decode()
    assert len(export(stranger, q=str(acme.execution.pk)).getvalue().splitlines()) == 1
    assert export(viewer, step="x")["Location"] == f"{to(LIST)}?step=x"
    assert export(viewer, "xml").status_code == export(log_in("nobody")).status_code == 404


# --- views ---


def save(client: Client, **fields: str) -> Any:
    return client.post(to("executions_execution_save_view"), {"name": "ours", "query": "", **fields}, follow=True)


def current(response: Any) -> list[str]:
    return [tab.name for tab in response.context["tabs"] if tab.current]


def test_the_built_in_views_are_above_the_list(viewer: Client, acme: World, failed: Execution) -> None:
    assert current(shown(viewer)) == ["All"]
    failures = shown(viewer, status="failed", ended="1h")
    assert (current(failures), ids(failures)) == (["Failed in the last hour"], {failed.pk})
    assert current(shown(viewer, status="failed", ended="1h", columns="id")) == ["Failed in the last hour"]
    question = operator_rows.question(acme)
    assert ids(shown(viewer, status="WAITING_EXTERNAL")) == {question.execution_id}
    with unguarded(Execution):
        Execution.objects.filter(pk=failed.pk).update(submitted_by="user:viewer")
    assert ids(shown(viewer, by="me", since="7d")) == {failed.pk}


def test_a_view_is_saved_for_its_owner_or_shared_with_the_tenant(
    log_in: LogIn, viewer: Client, operator: Client, globex: World
) -> None:
    for query in ("step=x", "input__n=1", "columns=input"):
        save(viewer, query=query)
        assert not SavedView.objects.exists()
    response = save(viewer, query="status=live&columns=id%2Ckey&p=3&q=")
    assert response.redirect_chain == [(f"{to(LIST)}?status=live&columns=id%2Ckey", 302)]
    assert "ours" in current(response)
    assert "ours" not in [tab.name for tab in shown(operator).context["tabs"]]
    viewer.post(to("executions_execution_remove_view", SavedView.objects.get()))
    assert not SavedView.objects.exists()
    save(operator, query="status=live", tenant="acme")
    [shared] = [tab for tab in shown(viewer).context["tabs"] if tab.shared_with]
    assert (shared.name, shared.shared_with, shared.view_id) == ("ours", "acme", None)
    assert not [tab for tab in shown(log_in("stranger")).context["tabs"] if tab.shared_with]
    save(viewer, name=MARKUP)
    text = save(viewer, name=MARKUP).text
    assert "There is already a view named" in text
    assert MARKUP not in text
    assert SavedView.objects.filter(owner=User.objects.get(username="viewer")).count() == 1


# --- acts on executions ---


@pytest.fixture
def dead(acme: World) -> list[Execution]:
    return operator_rows.dead(acme, "order-1", "order-2", "other-3")


def act(client: Client, kind: str, query: str = "", **fields: Any) -> Any:
    return client.post(f"{to('executions_execution_act', kind)}?{query}", fields)


def items(campaign: Campaign) -> set[Any]:
    return set(CampaignItem.objects.filter(campaign=campaign).values_list("execution", flat=True))


def drafted(response: Any) -> Campaign:
    """Return the only draft, to whose page the response leads."""
    found = Campaign.objects.get(status="DRAFT")
    assert response["Location"] == to("executions_campaign_change", found)
    return found


@cases("kind", KINDS)
def test_the_selected_executions_become_a_draft(
    kind: str, log_in: LogIn, operator: Client, acme: World, dead: list[Execution]
) -> None:
    fitting = [acme.execution] if kind in {"cancel", "pause"} else [dead[0], dead[2]]
    chosen: dict[str, Any] = {"rows": "selected", "execution": [each.pk for each in fitting]}
    for who, status in (("viewer", 403), ("release-manager", 403), ("stranger", 404)):
        assert act(log_in(who), kind, **chosen).status_code == status
    assert not Campaign.objects.exists()
    draft = drafted(act(operator, kind, **chosen))
    assert (draft.kind, items(draft)) == (kind, {each.pk for each in fitting})


def test_all_that_match_become_a_draft_which_later_matches_do_not_join(
    log_in: LogIn, operator: Client, acme: World, dead: list[Execution]
) -> None:
    text = shown(operator, q="order-").text
    assert "All that match (2)" in text
    assert f"{to('executions_execution_act', 'redrive')}?q=order-" in text
    assert act(log_in("viewer"), "redrive", "status=failed", rows="all").status_code == 403
    draft = drafted(act(operator, "redrive", "status=failed&q=order-", rows="all", execution=[dead[2].pk]))
    operator_rows.dead(acme, "order-4")
    assert items(draft) == {dead[0].pk, dead[1].pk}


@cases(
    ("query", "fields"),
    [
        *(("q=order-", fields) for fields in ({}, {"rows": "selected"}, {"execution": ["x"]})),
        *((query, {"rows": "all"}) for query in ("step=x", "status=succeeded", "unknown=1")),
    ],
)
def test_nothing_selected_or_an_invalid_search_makes_no_draft(
    query: str, fields: dict[str, Any], operator: Client, dead: list[Execution]
) -> None:
    assert act(operator, "redrive", query, **fields)["Location"] == f"{to(LIST)}?{query}"
    assert not Campaign.objects.exists()


def test_a_campaign_has_executions_of_one_tenant_in_which_the_person_operates(
    log_in: LogIn, operator: Client, acme: World, globex: World
) -> None:
    client = log_in("superuser")
    for fields in ({"rows": "all"}, {"execution": [acme.execution.pk, globex.execution.pk]}):
        response = act(client, "cancel", **fields)
        assert "Filter by tenant first" in client.get(response["Location"]).text
    response = act(client, "redrive", execution=[acme.execution.pk])
    assert "None of the selected executions has failed." in client.get(response["Location"]).text
    Membership.objects.create(user_id=operator.session["_auth_user_id"], tenant=globex.tenant, role="viewer")
    assert act(operator, "cancel", execution=[globex.execution.pk]).status_code == 403
    assert act(operator, "cancel", "tenant=globex", rows="all").status_code == 403
    assert not Campaign.objects.exists()
    assert items(drafted(act(client, "cancel", "tenant=globex", rows="all"))) == {globex.execution.pk}
    assert act(operator, "remove", rows="all").status_code == 404


def test_a_stranger_selects_only_executions_of_the_own_tenant(log_in: LogIn, acme: World, globex: World) -> None:
    act(log_in("stranger"), "cancel", "tenant=acme", rows="all")
    assert items(Campaign.objects.get()) == {globex.execution.pk}


def test_a_disabled_act_says_which_roles_may(viewer: Client, operator: Client) -> None:
    text = shown(viewer).text
    assert text.count("These roles may: operator, on-call, tenant admin.") == len(KINDS)
    assert "formaction" not in text
    assert shown(operator).text.count("formaction") == len(KINDS)
