from alerts import deliveries, evaluation
from alerts.models import Alert, AlertDelivery
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, acknowledge, channel, let_clear, rule
from tests.concurrency.racing import race, results_of
from tests.receiving import receiving

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
