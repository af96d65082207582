"""Acts on selected executions, or on all that match, are frozen as the draft of a campaign."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from executions.models import Campaign, CampaignItem, Execution
from tenancy.audit import recording
from tenancy.models import AuditEntry, Membership
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_open_what import OPERATORS
from tests.cases import cases

LIST = "admin:executions_execution_changelist"
PEOPLE = ("viewer", "operator", "on-call", "release-manager", "tenant-admin", "superuser")
KINDS = Campaign.Kind.values


def act(client: Client, kind: str, query: str = "", **fields: Any) -> Any:
    address = reverse("admin:executions_execution_act", args=[kind])
    return client.post(f"{address}?{query}", fields)


def items(campaign: Campaign) -> set[Any]:
    return set(CampaignItem.objects.filter(campaign=campaign).values_list("execution", flat=True))


def drafted(response: Any) -> Campaign:
    """Return the only draft, to whose page the response leads."""
    found = Campaign.objects.get(status="DRAFT")
    assert response["Location"] == reverse("admin:executions_campaign_change", args=[found.pk])
    return found


@pytest.fixture
def dead(acme: World) -> list[Execution]:
    return operator_rows.dead(acme, "order-1", "order-2", "other-3")


@cases("kind", ["redrive", "resubmit"])
def test_the_selected_failures_become_a_draft(kind: str, log_in: LogIn, dead: list[Execution]) -> None:
    chosen = [dead[0].pk, dead[2].pk]
    draft = drafted(act(log_in("operator"), kind, rows="selected", execution=chosen))
    assert (draft.kind, items(draft)) == (kind, set(chosen))


@cases("kind", ["cancel", "pause"])
def test_the_selected_live_executions_become_a_draft(kind: str, log_in: LogIn, acme: World) -> None:
    draft = drafted(act(log_in("operator"), kind, execution=[acme.execution.pk]))
    assert (draft.kind, items(draft)) == (kind, {acme.execution.pk})


def test_all_that_match_become_a_draft_which_later_matches_do_not_join(
    log_in: LogIn, acme: World, dead: list[Execution]
) -> None:
    client = log_in("operator")
    draft = drafted(act(client, "redrive", "status=failed&q=order-", rows="all", execution=[dead[2].pk]))
    operator_rows.dead(acme, "order-4")
    assert items(draft) == {dead[0].pk, dead[1].pk}
    assert "2" in client.get(reverse("admin:executions_campaign_change", args=[draft.pk])).text


def test_the_list_counts_all_that_match_next_to_the_acts(log_in: LogIn, dead: list[Execution]) -> None:
    text = log_in("operator").get(reverse(LIST), {"q": "order-"}).text
    assert "All that match (2)" in text
    assert f"{reverse('admin:executions_execution_act', args=['redrive'])}?q=order-" in text


@cases("fields", [{}, {"rows": "selected"}, {"execution": ["x"]}])
def test_nothing_selected_makes_no_draft(fields: dict[str, Any], log_in: LogIn, dead: list[Execution]) -> None:
    assert act(log_in("operator"), "redrive", "q=order-", **fields)["Location"] == f"{reverse(LIST)}?q=order-"
    assert not Campaign.objects.exists()


def test_an_invalid_search_makes_no_draft(log_in: LogIn, dead: list[Execution]) -> None:
    for query in ("step=x", "status=succeeded", "unknown=1"):
        act(log_in("operator"), "redrive", query, rows="all")
    assert not Campaign.objects.exists()


def test_executions_that_do_not_fit_the_act_are_named(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    response = act(client, "redrive", execution=[acme.execution.pk])
    assert "None of the selected executions has failed." in client.get(response["Location"]).text
    assert not Campaign.objects.exists()


@cases("kind", KINDS)
def test_only_roles_that_operate_make_a_draft(kind: str, log_in: LogIn, acme: World, dead: list[Execution]) -> None:
    ids = [each.pk for each in (*dead, acme.execution)]
    for rows in ({"rows": "all"}, {"execution": ids}):
        for who in PEOPLE:
            client = log_in(who)
            with transaction.atomic():
                recording.repeats.reset()
                before = AuditEntry.objects.count()
                response = act(client, kind, "tenant=acme", **rows)
                allowed = who in OPERATORS
                assert response.status_code == (302 if allowed else 403)
                assert Campaign.objects.count() == allowed
                [entry] = AuditEntry.objects.order_by("id")[before:]
                assert (entry.act, entry.tenant) == ("campaign.draft", acme.tenant)
                assert entry.outcome == ("granted" if allowed else "denied")
                transaction.set_rollback(True)


def test_executions_of_another_tenant_are_not_found(log_in: LogIn, acme: World, dead: list[Execution]) -> None:
    client = log_in("stranger")
    assert act(client, "redrive", execution=[each.pk for each in dead]).status_code == 404
    act(client, "cancel", "tenant=acme", rows="all")
    assert items(Campaign.objects.get()) == set(
        Execution.objects.filter(tenant__slug="globex").values_list("pk", flat=True)
    )


def test_a_campaign_has_executions_of_one_tenant(log_in: LogIn, acme: World, globex: World) -> None:
    client = log_in("superuser")
    for fields in ({"rows": "all"}, {"execution": [acme.execution.pk, globex.execution.pk]}):
        response = act(client, "cancel", **fields)
        assert "Filter by tenant first" in client.get(response["Location"]).text
    assert not Campaign.objects.exists()
    assert items(drafted(act(client, "cancel", "tenant=globex", rows="all"))) == {globex.execution.pk}


def test_rows_of_a_tenant_in_which_the_person_may_not_operate_make_no_draft(
    log_in: LogIn, acme: World, globex: World
) -> None:
    """An operator of one tenant who is a viewer of another may not act there."""
    client = log_in("operator")
    Membership.objects.create(user_id=client.session["_auth_user_id"], tenant=globex.tenant, role="viewer")
    assert act(client, "cancel", execution=[globex.execution.pk]).status_code == 403
    assert act(client, "cancel", "tenant=globex", rows="all").status_code == 403
    assert not Campaign.objects.exists()


def test_a_disabled_act_says_which_roles_may(log_in: LogIn, acme: World) -> None:
    text = log_in("viewer").get(reverse(LIST)).text
    assert text.count("These roles may: operator, on-call, tenant admin.") == len(KINDS)
    assert "formaction" not in text
    assert log_in("operator").get(reverse(LIST)).text.count("formaction") == len(KINDS)


def test_an_unknown_act_and_a_get_are_refused(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")
    assert act(client, "remove", rows="all").status_code == 404
    assert client.get(reverse("admin:executions_execution_act", args=["cancel"])).status_code == 405
