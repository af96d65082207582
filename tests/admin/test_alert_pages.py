"""The pages of alerts, their rules and their channels."""

from typing import Any

from django.test import Client

from alerts.models import AlertChannel, AlertRule
from tenancy.models import Membership
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.alerts import alerting
from tests.alerts.alerting import sent_all

NEW_CHANNEL, NEW_RULE = "alerts_alertchannel_new", "alerts_alertrule_new"


def test_a_channel_is_added_changed_and_tested_and_its_path_is_never_shown(manager: Client, acme: World) -> None:
    fields = {"tenant": acme.tenant.pk, "name": "hook", "kind": "webhook", "enabled": "on"}
    assert "ALERT_CHANNEL_INVALID" in manager.post(to(NEW_CHANNEL), {**fields, "address": "nowhere"}).text
    assert not AlertChannel.objects.exists()
    answer = manager.post(to(NEW_CHANNEL), {**fields, "address": "https://h.example/secret-path"}, follow=True)
    channel = AlertChannel.objects.get()
    assert (channel.address, channel.created_by) == ("https://h.example/secret-path", "user:release-manager")
    edit = to("alerts_alertchannel_edit", channel)
    for text in (answer.text, manager.get(edit).text, manager.get(to("alerts_alertchannel_changelist")).text):
        assert "secret-path" not in text
        assert "https://h.example/…" in text
    manager.post(edit, {"name": "other", "address": "", "enabled": "on"})
    channel.refresh_from_db()
    assert (channel.name, channel.address) == ("other", "https://h.example/secret-path")
    forbidden = alerting.channel(acme.tenant, "http://10.0.0.1/hook")
    manager.post(to("alerts_alertchannel_test", forbidden))
    page = to("alerts_alertchannel_change", forbidden)
    assert "Pending" in manager.get(page).text
    sent_all()
    shown = manager.get(page).text
    assert "the address of the receiver may not be called" in shown


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
