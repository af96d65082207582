from typing import Any

import pytest

from alerts import channels
from alerts.channels import AlertChannelInPolicy
from alerts.deliveries import NOTIFICATIONS
from alerts.models import AlertChannel
from executions.models import Notification
from governance.resubmission.resubmission import resubmit
from releases import policy
from releases.errors import PolicyInvalid
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, channel, ended
from tests.wakeups import announced

pytestmark = pytest.mark.django_db


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
