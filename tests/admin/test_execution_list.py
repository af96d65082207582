"""The list of executions: its exports, and acts on what it shows."""

import csv
from io import StringIO
from typing import Any

import pytest
from django.test import Client

from executions.models import Campaign, CampaignItem, Execution
from tenancy.models import Membership
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases

LIST = "executions_execution_changelist"


@pytest.fixture
def failed(acme: World) -> Execution:
    [made] = operator_rows.dead(acme, "order-17", code="NO_FUNDS", message=MARKUP)
    return made


def shown(client: Client, **query: Any) -> Any:
    return client.get(to(LIST), query, follow=True)


# --- exports ---


def export(client: Client, form: str = "csv", **query: Any) -> Any:
    return client.get(to("executions_execution_export", form), query)


def test_an_export_has_what_the_list_shows_and_nothing_of_another_tenant(
    log_in: LogIn, viewer: Client, acme: World, failed: Execution
) -> None:
    response = export(viewer, columns="id,key,error", status="failed")
    lines = list(csv.reader(StringIO(response.getvalue().decode())))
    assert lines == [["id", "key", "error"], [str(failed.pk), "order-17", "NO_FUNDS"]]
    text = export(viewer, "ndjson", columns="id", q="order-").getvalue().decode()
    assert text == f'{{"id":"{failed.pk}"}}\n'
    stranger = log_in("stranger")
    assert "acme" not in export(stranger).getvalue().decode()
    assert export(viewer, step="x")["Location"] == f"{to(LIST)}?step=x"


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


@cases("kind", ["redrive", "cancel"])
def test_the_selected_executions_become_a_draft(
    kind: str, log_in: LogIn, operator: Client, acme: World, dead: list[Execution]
) -> None:
    fitting = [acme.execution] if kind == "cancel" else [dead[0], dead[2]]
    chosen: dict[str, Any] = {"rows": "selected", "execution": [each.pk for each in fitting]}
    for who, status in (("release-manager", 403), ("stranger", 404)):
        assert act(log_in(who), kind, **chosen).status_code == status
    assert not Campaign.objects.exists()
    draft = drafted(act(operator, kind, **chosen))
    assert (draft.kind, items(draft)) == (kind, {each.pk for each in fitting})


def test_all_that_match_become_a_draft_which_later_matches_do_not_join(
    log_in: LogIn, operator: Client, acme: World, dead: list[Execution]
) -> None:
    assert f"{to('executions_execution_act', 'redrive')}?q=order-" in shown(operator, q="order-").text
    assert act(log_in("viewer"), "redrive", "status=failed", rows="all").status_code == 403
    draft = drafted(act(operator, "redrive", "status=failed&q=order-", rows="all", execution=[dead[2].pk]))
    operator_rows.dead(acme, "order-4")
    assert items(draft) == {dead[0].pk, dead[1].pk}


def test_a_campaign_has_executions_of_one_tenant_in_which_the_person_operates(
    log_in: LogIn, operator: Client, acme: World, globex: World
) -> None:
    client = log_in("superuser")
    for fields in ({"rows": "all"}, {"execution": [acme.execution.pk, globex.execution.pk]}):
        response = act(client, "cancel", **fields)
        assert "Filter by tenant first" in client.get(response["Location"]).text
    Membership.objects.create(user_id=operator.session["_auth_user_id"], tenant=globex.tenant, role="viewer")
    assert act(operator, "cancel", execution=[globex.execution.pk]).status_code == 403
    assert act(operator, "cancel", "tenant=globex", rows="all").status_code == 403
    assert not Campaign.objects.exists()
    assert items(drafted(act(client, "cancel", "tenant=globex", rows="all"))) == {globex.execution.pk}
