"""Old alerts and messages are removed in batches; nothing else is."""

from typing import Any

import pytest

from alerts import retention
from alerts.delivery import deliveries
from alerts.models import Alert, AlertDelivery, AlertEvent
from releases.models import Release
from tenancy.models import Tenant
from tests.alerts.alerting import ACTOR, channel, fired, judged, let_clear, sent_all
from tests.alerts.test_evaluation import acknowledge
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


def ended(alert: Alert, days: int) -> None:
    with unguarded(Alert):
        run("UPDATE alerts_alert SET resolved_at = now() - make_interval(days => %s) WHERE id = %s", days, alert.pk)


@pytest.fixture
def resolved(ready: Ready) -> Alert:
    owner, _ = ready
    alert = fired(owner, channel(owner))
    acknowledge(owner)
    judged(alert.rule)
    let_clear(alert)
    judged(alert.rule)
    return alert


def test_a_resolved_alert_is_removed_after_its_days_with_its_events_and_messages(
    resolved: Alert, settings: Any
) -> None:
    settings.ALERT_RETENTION_DAYS = 30
    ended(resolved, 29)
    assert retention.remove(seconds=5) == 0
    ended(resolved, 31)
    assert retention.remove(seconds=5) == 1
    assert [model.objects.count() for model in (Alert, AlertEvent, AlertDelivery)] == [0, 0, 0]


def test_a_firing_alert_is_never_removed(ready: Ready) -> None:
    owner, _ = ready
    alert = fired(owner)
    with unguarded(Alert):
        run("UPDATE alerts_alert SET started_at = now() - interval '9 years' WHERE id = %s", alert.pk)
    assert retention.remove(seconds=5) == 0
    assert Alert.objects.get() == alert


def test_old_messages_are_removed_and_pending_ones_are_not(ready: Ready) -> None:
    made = channel(ready[0])
    old, pending = deliveries.test(made, actor=ACTOR), None
    sent_all()
    pending = deliveries.test(made, actor=ACTOR)
    with unguarded(AlertDelivery):
        run("UPDATE alerts_alertdelivery SET finished_at = now() - interval '91 days' WHERE id = %s", old.pk)
        run("UPDATE alerts_alertdelivery SET created_at = now() - interval '91 days' WHERE id = %s", pending.pk)
    assert retention.remove(seconds=5) == 1
    assert AlertDelivery.objects.get() == pending


def test_batches_are_bounded_and_all_are_removed(ready: Ready, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    made = channel(ready[0])
    for _ in range(5):
        deliveries.test(made, actor=ACTOR)
    sent_all()
    with unguarded(AlertDelivery):
        run("UPDATE alerts_alertdelivery SET finished_at = now() - interval '91 days'")
    assert retention.remove(seconds=5) == 5
