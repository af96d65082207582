import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from alerts import channels, deliveries, evaluation, rules
from alerts.deliveries import AlertChannelDisabled
from alerts.models import AlertRule
from outbox.outbox import TIMEOUT_SECONDS, sending_seconds, webhook_keys
from releases.models import Release
from tenancy.models import Tenant
from tests.alerts.alerting import ACTOR, channel, fired, make_due, sent_all, states
from tests.cases import cases
from tests.mail_server import mail_server
from tests.raw_sql import run
from tests.receiving import Receiver

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]
SECRET = "T0P-SECRET"


def is_signed(receiver: Receiver, key: str) -> bool:
    [request] = receiver.requests
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["X-Coordinator-Signature"])
    assert found
    expected = hmac.new(key.encode(), f"{found[1]}.".encode() + request.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, found[2]) and abs(int(found[1]) - timezone.now().timestamp()) < 60


def test_a_webhook_has_the_alert_with_its_links_and_a_signature(
    owner: Tenant, receiver: Receiver, settings: Any
) -> None:
    settings.PUBLIC_URL, settings.ALERT_DOCS_URL = "https://coordinator.example", "https://docs.example/main"
    alert = fired(owner, channel(owner, receiver.url()))
    assert sent_all() == 1
    assert states(alert) == [("FIRING", "SENT")]
    assert is_signed(receiver, webhook_keys(owner.slug)[0])
    [request] = receiver.requests
    delivery = alert.deliveries.get()
    assert request.headers["Idempotency-Key"] == str(delivery.pk)
    body = request.json
    assert (body["test"], body["state"], body["tenantId"]) == (False, "FIRING", owner.slug)
    assert (body["alertId"], body["rule"]["kind"]) == (str(alert.pk), "newFailureGroup")
    assert body["links"] == {
        "alert": f"https://coordinator.example/admin/alerts/alert/{alert.pk}/change/",
        "about": f"https://coordinator.example{alert.path}",
        "runbook": "https://docs.example/main/runbooks/alerts/tenant-new-failure-group.md",
    }


def test_a_webhook_is_signed_with_a_secret_of_its_own_tenant_only(
    owner: Tenant, receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    settings.ALERT_SECRETS = {"other": {"key": "env:A_KEY"}, owner.slug: {"key": "env:A_KEY"}}
    made = channel(owner, receiver.url(), secret="key")
    deliveries.test(made, actor=ACTOR)
    assert sent_all() == 1
    assert is_signed(receiver, SECRET)
    del settings.ALERT_SECRETS[owner.slug]
    test = deliveries.test(made, actor=ACTOR)
    sent_all()
    test.refresh_from_db()
    assert len(receiver.requests) == 1
    assert test.error == "ALERT_SECRETS has no readable secret 'key' of the tenant"


def test_slack_gets_json_at_its_secret_url_which_no_error_shows(
    owner: Tenant, receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ALERT_SECRETS = {owner.slug: {"ops": "env:A_URL"}}
    slack = channel(owner, "", kind="slack", secret="ops", name="a & b")
    for url in (receiver.url(path=f"/services/{SECRET}"), f"http://127.0.0.1:1/{SECRET}", f"gopher://{SECRET}"):
        monkeypatch.setenv("A_URL", url)
        test = deliveries.test(slack, actor=ACTOR)
        sent_all()
        test.refresh_from_db()
        assert test.state == ("SENT" if "services" in url else "FAILED")
        assert SECRET not in test.error + caplog.text
    [request] = receiver.requests
    assert request.path == f"/services/{SECRET}"
    assert "Test message to the channel a &amp; b" in request.json["text"]


@cases("url", ["http://169.254.169.254/latest/meta-data", "http://0x0a000001/", "http://internal.example/"])
def test_an_address_that_may_not_be_called_is_refused_at_once(owner: Tenant, url: str) -> None:
    alert = fired(owner, channel(owner, url))
    assert deliveries.OUTBOX.send(resolve=lambda host, port: ["10.0.0.1"])
    assert states(alert) == [("FIRING", "FAILED")]
    assert alert.deliveries.get().error == "the address of the receiver may not be called"


def test_a_message_is_retried_with_growing_waits_and_then_fails(owner: Tenant, receiver: Receiver) -> None:
    receiver.statuses = [500]
    alert = fired(owner, channel(owner, receiver.url()))
    waits = []
    for _ in range(2):
        assert sent_all() == 1
        delivery = alert.deliveries.get()
        waits.append(round((delivery.next_at - delivery.created_at).total_seconds()))
        assert (delivery.state, delivery.error) == ("PENDING", "the receiver responded with status 500")
        make_due(delivery)
    assert waits == [10, 20]
    assert sent_all() == 1
    assert states(alert) == [("FIRING", "FAILED")]
    assert sent_all() == 0
    assert len({request.headers["Idempotency-Key"] for request in receiver.requests}) == 1


@cases(("first", "messages"), [(503, ["FIRING", "RESOLVED"]), (204, ["FIRING", "RESOLVED"]), (0, ["RESOLVED"])])
def test_the_message_that_an_alert_fires_never_follows_the_one_that_it_is_resolved(
    owner: Tenant, receiver: Receiver, first: int, messages: list[str]
) -> None:
    alert = fired(owner, channel(owner, receiver.url()))
    receiver.statuses = [first or 204, 204]
    before = len(receiver.requests)
    if first:
        sent_all()
    else:
        run("UPDATE alerts_alertdelivery SET attempts = 1, next_at = now() + interval '9 seconds'")  # an attempt
    rules.change(alert.rule, actor=ACTOR, enabled=False)
    evaluation.evaluate_rule(AlertRule.objects.select_related("tenant").get(pk=alert.rule.pk))
    for _ in range(2):
        sent_all()
        assert len(receiver.requests) - before <= len(messages) - bool(alert.deliveries.filter(state="PENDING"))
        for delivery in alert.deliveries.filter(state="PENDING"):
            assert delivery.next_at - delivery.created_at <= timedelta(seconds=sending_seconds())
            make_due(delivery)
    assert [json.loads(request.body)["state"] for request in receiver.requests[before:]] == messages


def test_the_message_of_a_killed_process_is_sent_again_after_its_lease(owner: Tenant, receiver: Receiver) -> None:
    alert = fired(owner, channel(owner, f"http://dying.example:{receiver.port}/"))

    def die(host: str, port: int) -> Sequence[str]:
        delivery = alert.deliveries.get()
        lease = delivery.next_at - delivery.created_at  # both by the clock of the transaction
        assert lease > timedelta(seconds=TIMEOUT_SECONDS * 2), "longer than an attempt"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliveries.OUTBOX.send(resolve=die)
    assert sent_all() == 0, "the lease has not ended"
    make_due(alert.deliveries.get())
    assert deliveries.OUTBOX.send(resolve=lambda host, port: ["127.0.0.1"])
    delivery = alert.deliveries.get()
    assert (delivery.state, delivery.attempts, len(receiver.requests)) == ("SENT", 2, 1)


def test_the_result_of_an_older_attempt_is_ignored(ready: Ready, receiver: Receiver) -> None:
    alert = fired(ready[0], channel(ready[0], f"http://slow.example:{receiver.port}/"))

    def overtaken(host: str, port: int) -> Sequence[str]:
        alert.deliveries.update(attempts=2)
        return ["127.0.0.1"]

    assert deliveries.OUTBOX.send(resolve=overtaken)
    assert states(alert) == [("FIRING", "PENDING")]


def test_an_e_mail_is_sent_to_all_addresses_of_the_channel_or_retried(owner: Tenant, settings: Any) -> None:
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = "127.0.0.1", False, False
    settings.DEFAULT_FROM_EMAIL = "coordinator@example.com"
    alert = fired(owner, channel(owner, "ops@example.com, dev@example.com", kind="email"))
    with mail_server(refuses=True) as server:
        settings.EMAIL_PORT = server.port
        assert sent_all() == 1
    delivery = alert.deliveries.get()
    assert (delivery.state, delivery.error) == ("PENDING", "the mail server responded with 451")
    make_due(delivery)
    with mail_server() as server:
        settings.EMAIL_PORT = server.port
        assert sent_all() == 1
    assert states(alert) == [("FIRING", "SENT")]
    [mail] = server.mails
    assert mail.recipients == ["ops@example.com", "dev@example.com"]
    assert mail.message["Subject"] == f"[FIRING] {owner.slug}: {alert.title}"
    assert alert.detail in mail.message.get_payload()


def test_a_disabled_channel_gets_no_message(owner: Tenant, receiver: Receiver) -> None:
    made = channel(owner, receiver.url())
    alert = fired(owner, made)
    channels.change(made, actor=ACTOR, enabled=False)
    sent_all()
    assert (alert.deliveries.get().error, receiver.requests) == ("the channel is disabled", [])
    with pytest.raises(AlertChannelDisabled):
        deliveries.test(made, actor=ACTOR)
