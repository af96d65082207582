"""The pages of campaigns: how a draft is made, what it warns of, its options, and the results of a campaign."""

from typing import Any

from django.test import Client

from executions.models import Campaign, Execution
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, to, words
from tests.admin.conftest import World

OPTIONS = {"why": "the bank is back", "rate_per_minute": "60"}


def of(name: str, row: Any) -> str:
    return to(f"executions_campaign_{name}", row)


def ids(*executions: Execution) -> list[str]:
    return [str(execution.pk) for execution in executions]


def select(client: Client, kind: str, *executions: Execution) -> Any:
    return client.post(to("executions_campaign_draft"), {"kind": kind, "execution": ids(*executions)}, follow=True)


# --- drafts ---


def test_ticked_executions_become_a_draft_that_is_started(operator: Client, acme: World) -> None:
    first, second, _ = operator_rows.dead(acme, "k1", "k2", "k3")
    page = select(operator, "redrive", first, second)
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by, draft.filters) == ("DRAFT", "user:operator", {})
    assert {item.execution_id for item in draft.items.all()} == {first.pk, second.pk}
    assert "2 executions. Nothing has been done to them yet." in words(page)
    options = {**OPTIONS, "canary": "1", "stop_after_failures": "3"}
    assert "The campaign has started. Executions: 2." in words(operator.post(of("begin", draft), options, follow=True))
    draft.refresh_from_db()
    assert (draft.status, draft.reason, draft.canary, draft.stop_after_failures) == ("RUNNING", OPTIONS["why"], 1, 3)
    assert "It was started before." in words(operator.post(of("begin", draft), options, follow=True))


def test_a_draft_warns_of_a_revoked_release_and_offers_the_active_one(
    operator: Client, acme: World, newer: Release
) -> None:
    operator_rows.dead(acme, "k1", "k2")
    activate(newer, actor="user:test")
    revoke(acme.release, actor="user:test", reason="wrong sums")
    draft = operator_rows.draft(acme, reason="after the roll-back")
    page = words(operator.get(of("change", draft)))
    for text in ("2 of them are pinned to the revoked release acme.orders 1.0.", "“wrong sums”"):
        assert text in page
    assert "Resubmit on 2.0 instead" in page
    assert operator.post(of("begin", draft), OPTIONS).status_code == 409
    other = operator.post(of("instead", draft), follow=True)
    made = Campaign.objects.get(kind="resubmit")
    assert (made.status, made.reason, made.items.count()) == ("DRAFT", "after the roll-back", 2)
    assert "data-revoked" not in other.text
    confirmed = operator.post(of("begin", draft), {**OPTIONS, "allow_revoked": "on"}, follow=True)
    assert "The campaign has started." in words(confirmed)
    operator.post(of("begin", made), OPTIONS)
    revoke(newer, actor="user:test", reason="wrong sums")
    assert "Executions of acme.orders wait. The active release" in words(operator.get(of("change", made)))


# --- the page that selects by filters ---


def test_a_campaign_is_previewed_and_then_started(operator: Client, acme: World) -> None:
    """Failed executions belong to it only if the box is ticked."""
    operator_rows.dead(acme, "k1", "k2", code="NO_FUNDS")
    operator_rows.dead(acme, "failed", code="NO_FUNDS", retryable=False)
    filters = {"tenant": "acme", "pipeline_id": "acme.orders", "error_code": "NO_FUNDS"}
    previewed = operator.post(to("executions_campaign_start"), filters, follow=True)
    assert previewed.context["found"].count == 2
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by) == ("DRAFT", "user:operator")
    refused = operator.post(of("begin", draft), {"rate_per_minute": "0", "why": ""})
    assert (refused.status_code, refused.context["found"].count) == (400, 2)
    assert Campaign.objects.get().status == "DRAFT"
    started = operator.post(of("begin", draft), {"rate_per_minute": "30", "why": MARKUP}, follow=True)
    assert "The campaign has started. Executions: 2. Rate: 30 per minute." in started.text
    made = Campaign.objects.get()
    assert (made.status, made.rate_per_minute, made.created_by, made.reason) == ("RUNNING", 30, "user:operator", MARKUP)
    assert made.filters == {"pipelineId": "acme.orders", "errorCode": "NO_FUNDS"}
    ticked = operator.post(to("executions_campaign_start"), {**filters, "allow_failed": "on"}, follow=True)
    assert ticked.context["found"].count == 3
