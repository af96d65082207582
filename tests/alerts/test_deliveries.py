import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from alerts import channels, deliveries, evaluation, rules
from alerts.channels import AlertChannelInPolicy
from alerts.deliveries import NOTIFICATIONS, AlertChannelDisabled
from alerts.models import AlertChannel, AlertDelivery, AlertRule
from docs.generators.alerts import MESSAGE
from executions.errors import NotifyChannelUnknown
from executions.lifecycle import interventions
from executions.models import Execution, Notification
from executions.submission.submission import ExecutionRequest, submit_many
from governance.resubmission.resubmission import resubmit
from outbox.outbox import TIMEOUT_SECONDS, Outbox, sending_seconds, webhook_keys
from releases import policy
from releases.errors import PolicyInvalid
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, channel, ended, fired, make_due, sent_all, states
from tests.cases import cases
from tests.executions.moments import now
from tests.mail_server import mail_server
from tests.making import release_of
from tests.raw_sql import raised, run, unguarded
from tests.receiving import Receiver
from tests.wakeups import announced

pytestmark = pytest.mark.django_db
SECRET = "T0P-SECRET"


def test_a_webhook_has_the_alert_its_links_and_a_signature(owner: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL, settings.ALERT_DOCS_URL = "https://coordinator.example", "https://docs.example/main"
    alert = fired(owner, channel(owner, receiver.url()))
    assert sent_all() == 1
    assert states(alert) == [("FIRING", "SENT")]
    [request] = receiver.requests
    assert request.is_signed(webhook_keys(owner.slug)[0])
    assert request.headers["Idempotency-Key"] == str(alert.deliveries.get().pk)
    body = request.json
    assert (body.keys(), body["rule"].keys()) == (MESSAGE.keys(), MESSAGE["rule"].keys())
    assert (body["test"], body["state"], body["tenantId"]) == (False, "FIRING", owner.slug)
    assert (body["alertId"], body["rule"]["kind"]) == (str(alert.pk), "newFailureGroup")
    assert body["links"] == dict.fromkeys(MESSAGE["links"]) | {
        "alert": f"https://coordinator.example/admin/alerts/alert/{alert.pk}/change/",
        "about": f"https://coordinator.example{alert.path}",
        "recovery": f"https://coordinator.example/admin/releases/release/{release_of(owner, '1.0').pk}/recovery/",
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
    assert receiver.requests[0].is_signed(SECRET)
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
        assert making.reread(test).state == ("SENT" if "services" in url else "FAILED")
        assert SECRET not in test.error + caplog.text
    [request] = receiver.requests
    assert request.path == f"/services/{SECRET}"
    assert "Test message to the channel a &amp; b" in request.json["text"]


@cases("url", ["http://169.254.169.254/latest/meta-data", "http://0x0a000001/", "http://internal.example/"])
def test_an_address_that_may_not_be_called_is_refused_at_once(owner: Tenant, url: str) -> None:
    alert = fired(owner, channel(owner, url))
    assert deliveries.OUTBOX.send(resolve=lambda host, port: ["10.0.0.1"])
    assert states(alert) == [("FIRING", "FAILED")]
    assert alert.deliveries.get().error == "the address of the receiver may not be called; see WEBHOOK_ALLOWED_NETWORKS"


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
def test_firing_never_follows_resolved(owner: Tenant, receiver: Receiver, first: int, messages: list[str]) -> None:
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
    raised(AlertChannelDisabled, deliveries.test, made, actor=ACTOR)


def test_a_webhook_tells_what_ended_and_how_and_no_payload(owner: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://coordinator.example"
    hook = channel(owner, receiver.url())
    with announced() as wakeups:
        execution = ended(owner, notify="hook")
    assert ("alerts.notify",) in [wakeup[:1] for wakeup in wakeups]
    assert execution.notify == hook.pk
    assert NOTIFICATIONS.send()
    assert not NOTIFICATIONS.send()
    [request], message = receiver.requests, Notification.objects.get()
    assert request.is_signed(webhook_keys(owner.slug)[0])
    assert (message.state, message.attempts, message.error) == ("SENT", 1, "")
    assert request.headers["Idempotency-Key"] == str(message.pk)
    body = request.json
    assert datetime.fromisoformat(body.pop("finishedAt")) == execution.finished_at
    assert body == {
        "type": "execution",
        "notificationId": str(message.pk),
        "tenantId": owner.slug,
        "executionId": str(execution.pk),
        "pin": {
            "pipelineId": making.PIPELINE,
            "contractVersion": execution.contract_version,
            "releaseVersion": execution.release_version,
        },
        "status": "SUCCEEDED",
        "links": {"execution": f"https://coordinator.example/admin/executions/execution/{execution.pk}/change/"},
    }


def test_each_end_of_an_execution_is_a_message_and_others_have_none(owner: Tenant) -> None:
    channel(owner)
    with announced() as wakeups:
        ended(owner, "silent")
    assert "alerts.notify" not in [wakeup[0] for wakeup in wakeups]
    named = making.submitted(owner, "key", notify="hook")
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, "BadThing", retryable=False))
    interventions.redrive(owner, named.execution_id, actor=ACTOR, reason="", allow_failed=True)
    with transaction.atomic():
        interventions.cancel(owner, named.execution_id, actor=ACTOR, reason="")
        assert Notification.objects.count() == 2
        transaction.set_rollback(True)
    assert Notification.objects.count() == 1, "a message belongs to the transaction"
    for _ in range(2):
        interventions.cancel(owner, named.execution_id, actor=ACTOR, reason="")
    notifications = Notification.objects.order_by("id").values_list("execution_id", "document__status")
    assert sorted(notifications) == [(named.execution_id, "CANCELLED"), (named.execution_id, "FAILED")]


def test_an_unknown_channel_is_refused_alone(owner: Tenant) -> None:
    channels.change(channel(owner, name="off"), enabled=False, actor=ACTOR)
    channels.remove(channel(owner, name="gone"), actor=ACTOR)
    channel(making.tenant("rival"), name="rival")
    wrong = [ExecutionRequest(making.PIPELINE, {"n": 1}, key, notify=key) for key in ("off", "gone", "rival", "Hook")]
    results = submit_many(owner, [*wrong, ExecutionRequest(making.PIPELINE, {"n": 1}, "k")], actor=ACTOR)
    for request, refused in zip(wrong, results[:-1], strict=True):
        assert isinstance(refused, NotifyChannelUnknown)
        assert str(request.notify) in refused.detail
        assert refused.errors[0]["field"] == "notify"
    assert [execution.execution_key for execution in Execution.objects.filter(tenant=owner)] == ["k"]


def a_delivery(owner: Tenant, receiver: Receiver) -> tuple[Outbox, Any]:
    fired(owner, channel(owner, receiver.url("receiver.test")))
    return deliveries.OUTBOX, AlertDelivery.objects.all()


def a_notification(owner: Tenant, receiver: Receiver) -> tuple[Outbox, Any]:
    channel(owner, receiver.url("receiver.test"))
    ended(owner, notify="hook")
    return NOTIFICATIONS, Notification.objects.all()


def here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@cases("factory", [a_delivery, a_notification])
def test_the_message_of_a_killed_process_is_sent_again_after_its_lease_and_a_refused_one_retried(
    owner: Tenant, receiver: Receiver, factory: Callable[[Tenant, Receiver], tuple[Outbox, Any]]
) -> None:
    """The result of an attempt after which another one began is ignored."""
    outbox, messages = factory(owner, receiver)
    receiver.requests.clear()

    def overtaken(host: str, port: int) -> Sequence[str]:
        messages.update(attempts=0)
        return here(host, port)

    def die(host: str, port: int) -> Sequence[str]:
        assert messages.get().next_at - now() > timedelta(seconds=TIMEOUT_SECONDS * 2), "longer than an attempt"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outbox.send(resolve=die)
    assert (bool(outbox.send()), messages.get().attempts) == (False, 1), "the lease has not ended"
    receiver.statuses = [204, 500, 204]
    for resolve, state, attempts in ((overtaken, "PENDING", 0), (here, "PENDING", 1), (here, "SENT", 2)):
        messages.update(next_at=now())
        assert outbox.send(resolve=resolve)
        assert (messages.get().state, messages.get().attempts) == (state, attempts)
    assert len(receiver.requests) == 3


def test_a_channel_that_is_removed_later_gets_nothing(owner: Tenant, receiver: Receiver) -> None:
    hook = channel(owner, receiver.url())
    ended(owner, notify="hook")
    channels.remove(hook, actor=ACTOR)
    assert NOTIFICATIONS.send()
    assert (Notification.objects.get().error, receiver.requests) == ("the channel is disabled", [])


def test_a_lost_wake_up_is_made_up_for_and_old_messages_are_removed(owner: Tenant, receiver: Receiver) -> None:
    channel(owner, receiver.url())
    ended(owner, notify="hook")
    with announced() as wakeups:
        evaluation.evaluate()
    assert "alerts.notify" in [wakeup[0] for wakeup in wakeups]
    assert NOTIFICATIONS.send()
    assert evaluation.remove_old(seconds=5) == 0
    with unguarded(Notification):
        run("UPDATE executions_notification SET finished_at = finished_at - interval '1000 days'")
    assert evaluation.remove_old(seconds=5) == 1


def policed(owner: Tenant, **changes: Any) -> None:
    policy.change(Pipeline.objects.get(tenant=owner), changes, actor=ACTOR)


def told(execution_id: Any) -> list[tuple[str, str]]:
    """The channels that were told of ends of the execution, each with the state."""
    names = dict(AlertChannel.objects.values_list("pk", "name"))
    rows = Notification.objects.filter(execution_id=execution_id)
    return sorted((names[row.channel_id], row.document["status"]) for row in rows)


def test_a_policy_tells_its_channel_of_the_chosen_ends_of_all_executions(owner: Tenant) -> None:
    before = making.submitted(owner, "before")
    [early] = making.claimed(owner)
    ops = channel(owner, name="ops")
    hook = channel(owner)
    policed(owner, notifyChannel="ops")
    making.record(making.outcome_of(early))
    assert told(before.execution_id) == []
    with announced() as wakeups:
        both = ended(owner, "both", notify="hook")
        single = ended(owner, "own", notify="ops")
        running = making.submitted(owner, "running")
        [claim] = making.claimed(owner)
        assert told(both.pk) == [("hook", "SUCCEEDED"), ("ops", "SUCCEEDED")]
        assert told(single.pk) == [("ops", "SUCCEEDED")]
    assert [wakeup[0] for wakeup in wakeups].count("alerts.notify") == 2
    policed(owner, notifyEnds="failed")
    with announced() as wakeups:
        making.record(making.failure(claim, "BadThing", retryable=False))
        succeeded = ended(owner, "succeeded")
    assert [wakeup[0] for wakeup in wakeups].count("alerts.notify") == 1
    assert (told(running.execution_id), told(succeeded.pk)) == ([("ops", "FAILED")], [])
    channels.change(ops, enabled=False, actor=ACTOR)
    policed(owner, notifyEnds="all", notifyChannel="ops")
    disabled = ended(owner, "disabled")
    while NOTIFICATIONS.send():
        pass
    message = Notification.objects.get(execution_id=disabled.pk)
    assert (message.state, message.error) == ("FAILED", "the channel is disabled")
    assert resubmit(owner, disabled.pk, actor=ACTOR, reason="again").notify_by_policy
    policed(owner, notifyChannel=None)
    again = resubmit(owner, both.pk, actor=ACTOR, reason="again")
    assert (again.notify, again.notify_by_policy) == (hook.pk, None)


def test_a_policy_and_its_channel_stay_together(owner: Tenant) -> None:
    channel(making.tenant("rival"), name="rival")
    channels.change(channel(owner, name="off"), enabled=False, actor=ACTOR)
    for name in ("rival", "off", "none"):
        with pytest.raises(PolicyInvalid, match="notifyChannel: must be the name of an enabled channel"):
            policed(owner, notifyChannel=name, retryLimit=1)
    assert Pipeline.objects.get(tenant=owner).retry_limit is None
    hook = channel(owner)
    policed(owner, notifyChannel="hook")
    with pytest.raises(AlertChannelInPolicy, match=f"'hook' is in the policy of {making.PIPELINE}"):
        channels.remove(hook, actor=ACTOR)
    with pytest.raises(AlertChannelInPolicy, match="'hook'"):
        channels.change(AlertChannel.objects.get(pk=hook.pk), name="other", actor=ACTOR)
    channels.change(AlertChannel.objects.get(pk=hook.pk), name="hook", address="http://127.0.0.1:2/", actor=ACTOR)
    policed(owner, notifyChannel=None)
    channels.remove(hook, actor=ACTOR)
