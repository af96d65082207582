from functools import partial

import pytest

from alerts import channels, deliveries, evaluation
from alerts.models import Alert, AlertDelivery
from releases import policy
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, acknowledge, channel, let_clear, rule
from tests.concurrency.racing import parted, race, results_of
from tests.receiving import receiving
from tests.repetition import rounds

Ready = tuple[Tenant, Release]


def test_six_evaluators_open_and_resolve_one_alert_with_one_message_each(ready: Ready) -> None:
    owner, _ = ready
    made = rule(owner, "newFailureGroup", channel(owner))
    making.dead(owner, "dead")
    assert sorted(results_of(race(*[evaluation.evaluate] * 6))) == [0, 0, 0, 0, 0, 1]
    alert = Alert.objects.get()
    assert list(alert.deliveries.values_list("kind", flat=True)) == ["FIRING"]
    acknowledge(owner)
    results_of(race(*[evaluation.evaluate] * 6))
    let_clear(alert)
    assert sorted(results_of(race(*[evaluation.evaluate] * 6))) == [0, 0, 0, 0, 0, 1]
    assert sorted(alert.deliveries.values_list("kind", flat=True)) == ["FIRING", "RESOLVED"]
    assert list(alert.events.values_list("kind", flat=True)) == ["FIRED", "RESOLVED"]
    assert Alert.objects.filter(rule=made).count() == 1


def test_several_processes_send_each_message_once(ready: Ready) -> None:
    with receiving() as receiver:
        made = channel(ready[0], receiver.url())
        for _ in range(6):
            deliveries.test(made, actor=ACTOR)
        results_of(race(*[deliveries.OUTBOX.send] * 12))
        while deliveries.OUTBOX.send():
            pass
        keys = [request.headers["Idempotency-Key"] for request in receiver.requests]
    assert (len(keys), len(set(keys))) == (6, 6)
    assert {*AlertDelivery.objects.values_list("state", flat=True)} == {"SENT"}


@pytest.mark.parametrize("_", rounds(5))
def test_a_policy_names_no_channel_that_is_removed_at_the_same_time(_: int) -> None:
    release = making.registered()
    ops = channel(release.pipeline.tenant, name="ops")
    name = partial(policy.change, release.pipeline, {"notifyChannel": "ops"}, actor="user:ann")
    results = race(name, partial(channels.remove, ops, actor="user:ann"))
    [lost] = parted(results)[1]
    assert lost in {"PolicyInvalid", "AlertChannelInPolicy"}
    release.pipeline.refresh_from_db()
    assert (release.pipeline.notify_channel == "ops") is channels.kept(release.pipeline.tenant).exists()
