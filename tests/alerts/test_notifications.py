"""Messages to channels about executions that have ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from django.db import transaction

from alerts import channels, evaluation
from alerts.channels import AlertChannelInPolicy
from alerts.deliveries import NOTIFICATIONS
from alerts.models import AlertChannel
from executions.errors import NotifyChannelUnknown
from executions.lifecycle import interventions
from executions.models import Execution, Notification
from executions.submission.submission import ExecutionRequest, submit_many
from governance.resubmission.resubmission import resubmit
from outbox.outbox import webhook_keys
from releases import policy
from releases.errors import PolicyInvalid
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, channel
from tests.alerts.test_deliveries import is_signed
from tests.raw_sql import run, unguarded
from tests.receiving import Receiver
from tests.wakeups import announced

pytestmark = pytest.mark.django_db


def ended(owner: Tenant, key: str = "key", **members: Any) -> Execution:
    """Submit an execution, and let it succeed."""
    made = making.submitted(owner, key, **members)
    [claim] = making.claimed(owner)
    making.record(making.outcome_of(claim))
    return Execution.objects.get(pk=made.execution_id)


def make_due() -> None:
    run("UPDATE executions_notification SET next_at = now()")


def test_a_webhook_tells_what_ended_and_how_and_no_payload(owner: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://coordinator.example"
    hook = channel(owner, receiver.url())
    with announced() as wakeups:
        execution = ended(owner, notify="hook")
    assert ("alerts.notify",) in [each[:1] for each in wakeups]
    assert execution.notify == hook.pk
    assert NOTIFICATIONS.send()
    assert not NOTIFICATIONS.send()
    assert is_signed(receiver, webhook_keys(owner.slug)[0])
    [request], message = receiver.requests, Notification.objects.get()
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
    assert "alerts.notify" not in [each[0] for each in wakeups]
    named = making.submitted(owner, "key", notify="hook")
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, "BadThing", retryable=False))
    interventions.redrive(owner, named.execution_id, actor=ACTOR, reason="", allow_failed=True)
    interventions.cancel(owner, named.execution_id, actor=ACTOR, reason="")
    interventions.cancel(owner, named.execution_id, actor=ACTOR, reason="")
    found = Notification.objects.order_by("id").values_list("execution_id", "document__status")
    assert sorted(found) == [(named.execution_id, "CANCELLED"), (named.execution_id, "FAILED")]


def test_a_message_belongs_to_the_transaction_that_ends_the_execution(owner: Tenant) -> None:
    channel(owner)
    made = making.submitted(owner, "key", notify="hook")
    with transaction.atomic():
        interventions.cancel(owner, made.execution_id, actor=ACTOR, reason="")
        assert Notification.objects.exists()
        transaction.set_rollback(True)
    assert not Notification.objects.exists()


def test_an_unknown_channel_is_refused_alone(owner: Tenant) -> None:
    channels.change(channel(owner, name="off"), enabled=False, actor=ACTOR)
    channels.remove(channel(owner, name="gone"), actor=ACTOR)
    channel(making.tenant("rival"), name="rival")
    requests = [
        ExecutionRequest(making.PIPELINE, {"n": 1}, key, notify=key) for key in ("off", "gone", "rival", "Hook")
    ]
    results = submit_many(owner, [*requests, ExecutionRequest(making.PIPELINE, {"n": 1}, "k")], actor=ACTOR)
    for request, refused in zip(requests, results[:-1], strict=True):
        assert isinstance(refused, NotifyChannelUnknown)
        assert str(request.notify) in refused.detail
        assert refused.errors[0]["field"] == "notify"
    assert [execution.execution_key for execution in Execution.objects.filter(tenant=owner)] == ["k"]


def test_the_message_of_a_killed_process_is_sent_again_and_a_refused_one_retried(
    owner: Tenant, receiver: Receiver
) -> None:
    channel(owner, f"http://dying.example:{receiver.port}/")
    ended(owner, notify="hook")

    def die(host: str, port: int) -> Sequence[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NOTIFICATIONS.send(resolve=die)
    assert not NOTIFICATIONS.send(), "the lease has not ended"
    receiver.statuses = [500, 204]
    for state in ("PENDING", "SENT"):
        make_due()
        assert NOTIFICATIONS.send(resolve=lambda host, port: ["127.0.0.1"])
        assert Notification.objects.get().state == state
    assert Notification.objects.get().attempts == 3


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
    assert "alerts.notify" in [each[0] for each in wakeups]
    assert NOTIFICATIONS.send()
    assert evaluation.remove_old(seconds=5) == 0
    with unguarded(Notification):
        run("UPDATE executions_notification SET finished_at = finished_at - interval '1000 days'")
    assert evaluation.remove_old(seconds=5) == 1


def test_a_resubmission_tells_the_channel_of_its_origin(owner: Tenant) -> None:
    hook = channel(owner)
    again = resubmit(owner, ended(owner, notify="hook").pk, actor=ACTOR, reason="again")
    assert again.notify == hook.pk


def policed(owner: Tenant, **changes: Any) -> None:
    policy.change(Pipeline.objects.get(tenant=owner), changes, actor=ACTOR)


def told(execution_id: Any) -> list[tuple[str, str]]:
    """The channels that were told of ends of the execution, each with the state."""
    names = dict(AlertChannel.objects.values_list("pk", "name"))
    rows = Notification.objects.filter(execution_id=execution_id)
    return sorted((names[each.channel_id], each.document["status"]) for each in rows)


def test_a_policy_tells_its_channel_of_the_chosen_ends_of_all_executions(owner: Tenant) -> None:
    before = making.submitted(owner, "before")
    [early] = making.claimed(owner)
    ops = channel(owner, name="ops")
    channel(owner)
    policed(owner, notifyChannel="ops")
    making.record(making.outcome_of(early))
    assert told(before.execution_id) == []
    with announced() as wakeups:
        both = ended(owner, "both", notify="hook")
        own = ended(owner, "own", notify="ops")
        running = making.submitted(owner, "running")
        [claim] = making.claimed(owner)
        assert told(both.pk) == [("hook", "SUCCEEDED"), ("ops", "SUCCEEDED")]
        assert told(own.pk) == [("ops", "SUCCEEDED")]
    assert [each[0] for each in wakeups].count("alerts.notify") == 2
    policed(owner, notifyEnds="failed")
    with announced() as wakeups:
        making.record(making.failure(claim, "BadThing", retryable=False))
        succeeded = ended(owner, "succeeded")
    assert [each[0] for each in wakeups].count("alerts.notify") == 1
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
    assert resubmit(owner, both.pk, actor=ACTOR, reason="again").notify_by_policy is None


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
