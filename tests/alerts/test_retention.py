"""Old alerts and messages are removed in batches; nothing else is."""

from typing import Any

import pytest

from alerts import retention
from alerts.models import Alert, AlertEvent
from releases.models import Release
from tenancy.models import Tenant
from tests.alerts.alerting import channel, fired, judged, let_clear
from tests.alerts.test_evaluation import acknowledge
from tests.cases import cases
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


@cases(("days", "removed"), [(None, 0), (29, 0), (31, 1)])
def test_a_resolved_alert_is_removed_after_its_days_with_its_events_and_messages(
    ready: Ready, settings: Any, days: int | None, removed: int
) -> None:
    settings.ALERT_RETENTION_DAYS, settings.SWEEP_LIMIT = 30, 2
    owner, _ = ready
    alert = fired(owner, channel(owner))
    with unguarded(Alert):
        run("UPDATE alerts_alert SET started_at = now() - interval '9 years' WHERE id = %s", alert.pk)
    if days is not None:
        acknowledge(owner)
        judged(alert.rule)
        let_clear(alert)
        judged(alert.rule)
        with unguarded(Alert):
            run("UPDATE alerts_alert SET resolved_at = now() - make_interval(days => %s)", days)
    assert retention.remove(seconds=5) == removed
    assert Alert.objects.count() == 1 - removed
    assert AlertEvent.objects.exists() is (not removed)
