"""REST: rules, channels, alerts, and silences."""

from typing import Any

import pytest

from alerts import evaluation
from alerts.models import AlertChannel
from tests import making
from tests.alerts import alerting
from tests.api.tenant_api import TenantApi, fields, refused
from tests.cases import cases

pytestmark = pytest.mark.django_db
LATER = "2030-01-01T00:00:00Z"
HOOK = {"name": "hook", "kind": "webhook", "address": "https://receiver.example/secret-path?token=x"}


def test_a_channel_is_added_changed_tested_and_removed(ours: TenantApi) -> None:
    made = ours.post("alert-channels", HOOK)
    assert made.status_code == 201, made.content
    channel = made.json()
    assert channel["address"] == "https://receiver.example/…"
    assert "secret-path" not in made.content.decode()
    path = f"alert-channels/{channel['channelId']}"
    changed = ours.patch(path, {"name": "other", "enabled": False}).json()
    assert (changed["name"], changed["enabled"]) == ("other", False)
    assert AlertChannel.objects.get().address == HOOK["address"]
    refused(ours.post(f"{path}/test", None), 409, "ALERT_CHANNEL_DISABLED")
    ours.patch(path, {"enabled": True})
    test = ours.post(f"{path}/test", None)
    assert (test.status_code, test.json()["kind"], test.json()["state"]) == (202, "TEST", "PENDING")
    assert [each["deliveryId"] for each in ours.get(path).json()["deliveries"]] == [test.json()["deliveryId"]]
    assert ours.post(f"{path}/remove", None).status_code == 200
    refused(ours.get(path), 404, "ALERT_CHANNEL_UNKNOWN")
    refused(ours.post(f"{path}/remove", None), 404, "ALERT_CHANNEL_UNKNOWN")
    assert ours.get("alert-channels").json()["items"] == []
    assert ours.post("alert-channels", {**HOOK, "name": "other"}).status_code == 201, "the name is free again"


@cases(
    ("changes", "wrong"),
    [
        ({"address": "ftp://receiver.example/"}, {"address"}),
        ({"address": "https://user:password@receiver.example/"}, {"address"}),
        ({"kind": "email", "address": "a@example.com\nBcc: b@example.com"}, {"address"}),
        ({"kind": "email", "address": "a@example.com", "secret": "s"}, {"secret"}),
        ({"secret": "file:/etc/passwd"}, {"secret"}),
    ],
)
def test_an_invalid_channel_is_refused(ours: TenantApi, changes: dict[str, Any], wrong: set[str]) -> None:
    found = refused(ours.post("alert-channels", {**HOOK, **changes}), 400, "ALERT_CHANNEL_INVALID")
    assert set(fields(found)) == wrong
    assert AlertChannel.objects.count() == 0


def test_a_rule_is_added_changed_and_removed(ours: TenantApi) -> None:
    channel = ours.post("alert-channels", HOOK).json()["channelId"]
    body = {
        **{"name": "orders fail", "kind": "failureRate", "thresholds": {"percent": 10}},
        **{"pipelineId": making.PIPELINE, "channelIds": [channel]},
    }
    made = ours.post("alert-rules", body)
    assert made.status_code == 201, made.content
    rule = made.json()
    assert rule["thresholds"] == {"percent": 10, "minutes": 15, "minimum": 20}
    assert (rule["pipelineId"], rule["channelIds"], rule["enabled"]) == (making.PIPELINE, [channel], True)
    path = f"alert-rules/{rule['ruleId']}"
    changes = {"thresholds": {"minimum": 5}, "channelIds": [], "silencedUntil": LATER}
    changed = ours.patch(path, changes).json()
    assert changed["thresholds"] == {"percent": 10, "minutes": 15, "minimum": 5}
    assert (changed["channelIds"], changed["silencedUntil"]) == ([], LATER)
    assert ours.get(path).json() == changed
    assert ours.patch(path, {"silencedUntil": None}).json()["silencedUntil"] is None
    assert ours.post(f"{path}/remove", None).status_code == 200
    refused(ours.patch(path, {"enabled": True}), 404, "ALERT_RULE_UNKNOWN")


def test_an_alert_is_listed_and_silenced(ours: TenantApi) -> None:
    rule = alerting.rule(ours.tenant, "newFailureGroup", alerting.channel(ours.tenant))
    making.claimed(ours.tenant)
    making.dead(ours.tenant, "dead")
    evaluation.evaluate()
    [alert] = ours.get("alerts?state=FIRING&kind=newFailureGroup").json()["items"]
    assert (alert["ruleId"], alert["state"], alert["resolvedAt"]) == (str(rule.pk), "FIRING", None)
    assert ours.get("alerts?state=RESOLVED").json()["items"] == []
    assert len(ours.get(f"alerts?ruleId={rule.pk}").json()["items"]) == 1
    path = f"alerts/{alert['alertId']}"
    silenced = ours.post(f"{path}/silence", {"until": LATER}).json()
    assert silenced["silencedUntil"] == LATER
    assert silenced["silencedBy"].startswith("token:client-")
    assert [event["kind"] for event in silenced["events"]] == ["FIRED", "SILENCED"]
    assert [each["state"] for each in silenced["deliveries"]] == ["PENDING"]
    assert ours.post(f"{path}/silence", {"until": None}).json()["silencedUntil"] is None
    refused(ours.post(f"{path}/silence", {}), 400, "INVALID_REQUEST")
    ours.patch(f"alert-rules/{rule.pk}", {"enabled": False})
    evaluation.evaluate()
    refused(ours.post(f"{path}/silence", {"until": LATER}), 409, "ALERT_RESOLVED")
