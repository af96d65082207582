from typing import Any

from django.test import Client

from alerts.models import AlertChannel, AlertRule
from executions.models import Campaign, Execution
from governance.activation.activation import activate
from governance.campaigns import drafting
from governance.retirement.retirement import revoke
from releases.models import Release
from tenancy.models import Membership
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, to, words
from tests.admin.conftest import World
from tests.alerts.alerting import sent_all

NEW_CHANNEL, NEW_RULE = "alerts_alertchannel_new", "alerts_alertrule_new"


def test_a_channel_is_added_changed_and_tested_and_its_path_is_never_shown(manager: Client, acme: World) -> None:
    fields = {"tenant": acme.tenant.pk, "name": "hook", "kind": "webhook", "enabled": "on"}
    assert "ALERT_CHANNEL_INVALID" in manager.post(to(NEW_CHANNEL), {**fields, "address": "nowhere"}).text
    assert not AlertChannel.objects.exists()
    answer = manager.post(to(NEW_CHANNEL), {**fields, "address": "http://10.0.0.1/secret-path"}, follow=True)
    channel = AlertChannel.objects.get()
    assert (channel.address, channel.created_by) == ("http://10.0.0.1/secret-path", "user:release-manager")
    edit = to("alerts_alertchannel_edit", channel)
    for text in (answer.text, manager.get(edit).text, manager.get(to("alerts_alertchannel_changelist")).text):
        assert "secret-path" not in text
        assert "http://10.0.0.1/…" in text
    manager.post(edit, {"name": "other", "address": "", "enabled": "on"})
    channel.refresh_from_db()
    assert (channel.name, channel.address) == ("other", "http://10.0.0.1/secret-path")
    page = to("alerts_alertchannel_change", channel)
    manager.post(to("alerts_alertchannel_test", channel))
    assert "every 2s" in manager.get(page).text
    assert sent_all() == 3, "added, changed and tested"
    shown = manager.get(page).text
    assert "the address of the receiver may not be called; see WEBHOOK_ALLOWED_NETWORKS" in shown
    assert "every 2s" not in shown


def test_a_rule_is_added_and_changed(manager: Client, acme: World) -> None:
    channel = operator_rows.channel(acme)
    late = {"tenant": acme.tenant.pk, "name": "late", "kind": "stranded", "enabled": "on"}
    for changes, code in (({"percent": "5"}, "ALERT_RULE_INVALID"), ({"pipeline": "none"}, "UNKNOWN")):
        assert code in manager.post(to(NEW_RULE), {**late, **changes}).text
    assert not AlertRule.objects.exists()
    fields = {
        **{"tenant": acme.tenant.pk, "name": "orders fail", "kind": "failureRate", "percent": "10"},
        **{"pipeline": "acme.orders", "channels": [str(channel.pk)], "enabled": "on"},
    }
    answer = manager.post(to(NEW_RULE), fields)
    rule = AlertRule.objects.get()
    assert answer["Location"] == to("alerts_alertrule_change", rule)
    assert rule.thresholds == {"percent": 10, "minutes": 15, "minimum": 20}
    assert (rule.pipeline, [*rule.channels.all()]) == (acme.release.pipeline, [channel])
    edit = to("alerts_alertrule_edit", rule)
    manager.post(edit, {"name": "orders fail", "percent": "20", "minutes": "5", "minimum": "20"})
    rule.refresh_from_db()
    assert (rule.thresholds["percent"], rule.enabled, [*rule.channels.all()]) == (20, False, [])


def test_a_rule_cannot_use_the_channel_or_the_tenant_of_others(manager: Client, acme: World, globex: World) -> None:
    theirs = operator_rows.channel(globex)
    fields: dict[str, Any] = {"name": "late", "kind": "stranded", "tenant": acme.tenant.pk}
    assert manager.post(to(NEW_RULE), {**fields, "channels": [str(theirs.pk)]}).status_code == 400
    Membership.objects.create(user_id=manager.session["_auth_user_id"], tenant=globex.tenant, role="release-manager")
    answer = manager.post(to(NEW_RULE), {**fields, "channels": [str(theirs.pk)]})
    assert "ALERT_CHANNEL_UNKNOWN" in answer.text
    assert not AlertRule.objects.exists()


OPTIONS = {"why": "the bank is back", "rate_per_minute": "60"}


def campaign_url(name: str, row: Any) -> str:
    return to(f"executions_campaign_{name}", row)


def select(client: Client, kind: str, *executions: Execution) -> Any:
    ids = [str(execution.pk) for execution in executions]
    return client.post(to("executions_execution_act", kind), {"execution": ids}, follow=True)


def test_ticked_executions_become_a_draft_that_is_started(operator: Client, acme: World) -> None:
    first, second, _ = operator_rows.dead(acme, "k1", "k2", "k3")
    page = select(operator, "redrive", first, second)
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by, draft.filters) == ("DRAFT", "user:operator", {})
    assert {item.execution_id for item in draft.items.all()} == {first.pk, second.pk}
    assert "2 executions. Nothing has been done to them yet." in words(page)
    options = {**OPTIONS, "canary": "1", "stop_after_failures": "3"}
    started = operator.post(campaign_url("begin", draft), options, follow=True)
    assert "The campaign has started. Executions: 2." in words(started)
    draft.refresh_from_db()
    assert (draft.status, draft.reason, draft.canary, draft.stop_after_failures) == ("RUNNING", OPTIONS["why"], 1, 3)
    assert "It was started before." in words(operator.post(campaign_url("begin", draft), options, follow=True))


def test_a_draft_warns_of_a_revoked_release_and_offers_another(operator: Client, acme: World, newer: Release) -> None:
    operator_rows.dead(acme, "k1", "k2")
    activate(newer, actor="user:test")
    revoke(acme.release, actor="user:test", reason="wrong sums")
    draft = operator_rows.draft(acme, reason="after the roll-back")
    page = words(operator.get(campaign_url("change", draft)))
    for text in ("2 of them are pinned to the revoked release acme.orders 1.0.", "“wrong sums”"):
        assert text in page
    assert "Resubmit on 2.0 instead" in page
    assert operator.post(campaign_url("begin", draft), OPTIONS).status_code == 409
    other = operator.post(campaign_url("instead", draft), follow=True)
    made = Campaign.objects.get(kind="resubmit")
    assert (made.status, made.reason, made.items.count()) == ("DRAFT", "after the roll-back", 2)
    assert "data-revoked" not in other.text
    confirmed = operator.post(campaign_url("begin", draft), {**OPTIONS, "allow_revoked": "on"}, follow=True)
    assert "The campaign has started." in words(confirmed)
    operator.post(campaign_url("begin", made), OPTIONS)
    revoke(newer, actor="user:test", reason="wrong sums")
    assert "Executions of acme.orders wait. The active release" in words(operator.get(campaign_url("change", made)))


def test_a_campaign_that_is_drafted_shows_its_progress_and_then_its_page(operator: Client, acme: World) -> None:
    operator_rows.dead(acme, "k1", "k2")
    columns: dict[str, Any] = {"filters": {}, "reason": "x", "rate_per_minute": 60, "created_by": "user:x"}
    rows = Execution.objects.filter(tenant=acme.tenant, status="DLQ")
    draft = drafting.freeze(acme.tenant, rows, **columns).campaign
    live = f"{campaign_url('live', draft)}?shown=DRAFTING"
    for page in (operator.get(campaign_url("change", draft)), operator.get(live)):
        assert "its list is written: 0 of 2. Then this page shows what the draft contains." in words(page)
    assert "0 of 2" in words(operator.get(to("executions_campaign_changelist")))
    assert "Its items are still written." in words(operator.post(campaign_url("begin", draft), OPTIONS, follow=True))
    operator.post(campaign_url("instead", draft))
    assert drafting.draft() == 2
    assert operator.get(live)["HX-Refresh"] == "true"
    assert "2 executions. Nothing has been done to them yet." in words(operator.get(campaign_url("change", draft)))
    assert Campaign.objects.count() == 1


def test_a_campaign_is_previewed_and_then_started(operator: Client, acme: World) -> None:
    """Failed executions belong to it only if the box is ticked."""
    operator_rows.dead(acme, "k1", "k2", code="NO_FUNDS")
    operator_rows.dead(acme, "failed", code="NO_FUNDS", retryable=False)
    filters = {"tenant": "acme", "pipeline_id": "acme.orders", "error_code": "NO_FUNDS"}
    previewed = operator.post(to("executions_campaign_start"), filters, follow=True)
    assert previewed.context["found"].count == 2
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by) == ("DRAFT", "user:operator")
    refused = operator.post(campaign_url("begin", draft), {"rate_per_minute": "0", "why": ""})
    assert (refused.status_code, refused.context["found"].count) == (400, 2)
    assert Campaign.objects.get().status == "DRAFT"
    started = operator.post(campaign_url("begin", draft), {"rate_per_minute": "30", "why": MARKUP}, follow=True)
    assert "The campaign has started. Executions: 2. Rate: 30 per minute." in started.text
    made = Campaign.objects.get()
    assert (made.status, made.rate_per_minute, made.created_by, made.reason) == ("RUNNING", 30, "user:operator", MARKUP)
    assert made.filters == {"pipelineId": "acme.orders", "errorCode": "NO_FUNDS"}
    ticked = operator.post(to("executions_campaign_start"), {**filters, "allow_failed": "on"}, follow=True)
    assert ticked.context["found"].count == 3
