"""The pages of alerts, their rules and their channels."""

from typing import Any

from django.urls import reverse

from alerts.models import AlertChannel, AlertRule
from tenancy.models import Membership
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World, person
from tests.alerts import alerting
from tests.alerts.alerting import sent_all

NEW_CHANNEL, NEW_RULE = "admin:alerts_alertchannel_new", "admin:alerts_alertrule_new"


def channel_form(world: World, **changes: Any) -> dict[str, Any]:
    fields = {"tenant": world.tenant.pk, "name": "hook", "kind": "webhook", "address": "https://h.example/secret-path"}
    return {**fields, "enabled": "on", **changes}


def test_a_channel_is_added_and_its_path_is_never_shown(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager")
    answer = client.post(reverse(NEW_CHANNEL), channel_form(acme), follow=True)
    assert answer.status_code == 200
    channel = AlertChannel.objects.get()
    assert (channel.address, channel.created_by) == ("https://h.example/secret-path", "user:release-manager")
    edit = reverse("admin:alerts_alertchannel_edit", args=[channel.pk])
    lists = reverse("admin:alerts_alertchannel_changelist")
    for text in (answer.text, client.get(edit).text, client.get(lists).text):
        assert "secret-path" not in text
        assert "https://h.example/…" in text
    client.post(edit, {"name": "other", "address": "", "enabled": "on"})
    channel.refresh_from_db()
    assert (channel.name, channel.address) == ("other", "https://h.example/secret-path")


def test_an_invalid_channel_is_explained(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager")
    answer = client.post(reverse(NEW_CHANNEL), channel_form(acme, address="nowhere"))
    assert answer.status_code == 400
    assert "ALERT_CHANNEL_INVALID" in answer.text
    assert client.post(reverse(NEW_CHANNEL), channel_form(acme, name="")).status_code == 400
    assert not AlertChannel.objects.exists()


def test_the_page_of_a_channel_shows_why_a_test_message_failed(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager")
    channel = alerting.channel(acme.tenant, "http://10.0.0.1/hook")
    client.post(reverse("admin:alerts_alertchannel_test", args=[channel.pk]))
    page = reverse("admin:alerts_alertchannel_change", args=[channel.pk])
    assert "Pending" in client.get(page).text
    sent_all()
    shown = client.get(page).text
    assert "Failed" in shown
    assert "the address of the receiver may not be called" in shown


def test_a_rule_is_added_and_changed(log_in: LogIn, acme: World) -> None:
    client, channel = log_in("release-manager"), operator_rows.channel(acme)
    fields = {
        **{"tenant": acme.tenant.pk, "name": "orders fail", "kind": "failureRate", "percent": "10"},
        **{"pipeline": "acme.orders", "channels": [str(channel.pk)], "enabled": "on"},
    }
    answer = client.post(reverse(NEW_RULE), fields)
    rule = AlertRule.objects.get()
    assert answer["Location"] == reverse("admin:alerts_alertrule_change", args=[rule.pk])
    assert rule.thresholds == {"percent": 10, "minutes": 15, "minimum": 20}
    assert (rule.pipeline, [*rule.channels.all()]) == (acme.release.pipeline, [channel])
    edit = reverse("admin:alerts_alertrule_edit", args=[rule.pk])
    form = client.get(edit).context["form"]
    assert {*form.fields} == {"name", "channels", "enabled", "percent", "minutes", "minimum"}
    client.post(edit, {"name": "orders fail", "percent": "20", "minutes": "5", "minimum": "20"})
    rule.refresh_from_db()
    assert (rule.thresholds["percent"], rule.enabled, [*rule.channels.all()]) == (20, False, [])


def test_an_invalid_rule_is_explained(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager")
    fields = {"tenant": acme.tenant.pk, "name": "late", "kind": "stranded", "enabled": "on"}
    for changes, code in (({"percent": "5"}, "ALERT_RULE_INVALID"), ({"pipeline": "none"}, "PIPELINE_UNKNOWN")):
        answer = client.post(reverse(NEW_RULE), {**fields, **changes})
        assert answer.status_code in {400, 404}
        assert code in answer.text
    assert not AlertRule.objects.exists()


def test_a_rule_cannot_use_the_channel_or_the_tenant_of_others(log_in: LogIn, acme: World, globex: World) -> None:
    client, theirs = log_in("release-manager"), operator_rows.channel(globex)
    fields = {"name": "late", "kind": "stranded", "tenant": acme.tenant.pk}
    assert client.post(reverse(NEW_RULE), {**fields, "channels": [str(theirs.pk)]}).status_code == 400
    assert client.post(reverse(NEW_RULE), {**fields, "tenant": globex.tenant.pk}).status_code == 400
    Membership.objects.create(user=person("both"), tenant=acme.tenant, role="release-manager")
    Membership.objects.create(user_id=client.session["_auth_user_id"], tenant=globex.tenant, role="release-manager")
    answer = client.post(reverse(NEW_RULE), {**fields, "channels": [str(theirs.pk)]})
    assert "ALERT_CHANNEL_UNKNOWN" in answer.text
    assert not AlertRule.objects.exists()


def test_the_page_of_an_alert_links_what_it_is_about(log_in: LogIn, acme: World, settings: Any) -> None:
    settings.ALERT_DOCS_URL = "https://docs.example"
    alert = operator_rows.alert(acme)
    client = log_in("operator")
    page = reverse("admin:alerts_alert_change", args=[alert.pk])
    shown = client.get(page).text
    assert f'href="{reverse("admin:executions_worker_change", args=[acme.worker.pk])}"' in shown
    assert "https://docs.example/runbooks/alerts/tenant-worker-lost.md" in shown
    silence = reverse("admin:alerts_alert_silence", args=[alert.pk])
    client.post(silence, {"hours": "4"})
    assert "silenced" in client.get(page).text
    client.post(silence, {"hours": "0"})
    client.post(silence, {"hours": "5"})
    alert.refresh_from_db()
    assert alert.silenced_until is None


def test_the_lists_filter_by_state_and_kind(log_in: LogIn, acme: World) -> None:
    operator_rows.alert(acme)
    client, address = log_in("viewer"), reverse("admin:alerts_alert_changelist")
    for query, count in (("state=FIRING", 1), ("state=RESOLVED", 0), ("kind=workerLost", 1), ("kind=stranded", 0)):
        assert len(client.get(f"{address}?{query}").context["cl"].result_list) == count
