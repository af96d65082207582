"""REST: channels of alerts."""

from typing import Any

from alerts.models import AlertChannel
from tests.api.tenant_api import TenantApi, fields, refused
from tests.cases import cases

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
