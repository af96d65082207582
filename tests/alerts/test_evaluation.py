"""Alerts fire once, are resolved after a minute without their condition, are silenced, and old ones are removed."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from alerts import evaluation, queries, retention, silencing
from alerts.conditions import MOST_FOUND
from alerts.configuration import rules
from alerts.errors import AlertIsResolved
from alerts.models import Alert, AlertEvent
from executions.failures.acts import change
from executions.models import FailureGroup
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, channel, fired, judged, let_clear, rule, states
from tests.cases import cases
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


def acknowledge(owner: Tenant) -> None:
    for group in FailureGroup.objects.filter(tenant=owner):
        change(owner, group.pk, actor=ACTOR, acknowledged=True)


def reopen(owner: Tenant) -> None:
    FailureGroup.objects.filter(tenant=owner).update(acknowledged_by="", acknowledged_at=None)


def test_an_alert_fires_once_is_resolved_after_a_minute_and_fires_again(ready: Ready) -> None:
    owner, _ = ready
    theirs = rule(making.ready()[0])
    alert = fired(owner, channel(owner), channel(owner, name="closed", enabled=False))
    assert judged(theirs) == []
    assert states(alert) == [("FIRING", "PENDING")]
    assert judged(alert.rule) == [("FIRING", f"{making.PIPELINE} fails with SomeError")]
    acknowledge(owner)
    judged(alert.rule)
    alert.refresh_from_db()
    assert (alert.state, alert.clear_since is not None) == ("FIRING", True)
    let_clear(alert)
    assert [state for state, _ in judged(alert.rule)] == ["RESOLVED"]
    assert states(alert) == [("FIRING", "PENDING"), ("RESOLVED", "PENDING")]
    assert list(alert.events.values_list("kind", "actor")) == [("FIRED", "coordinator"), ("RESOLVED", "coordinator")]
    reopen(owner)
    assert [state for state, _ in judged(alert.rule)] == ["FIRING", "RESOLVED"]


def test_no_alert_is_resolved_while_the_list_of_findings_is_cut(owner: Tenant) -> None:
    alert = fired(owner)
    acknowledge(owner)
    judged(alert.rule)
    let_clear(alert)
    for number in range(MOST_FOUND):
        making.dead(owner, f"k{number}", code=f"C{number}")
    judged(alert.rule)
    alert.refresh_from_db()
    assert (alert.state, alert.clear_since) == ("FIRING", None)


def test_a_condition_that_returns_within_a_minute_resolves_nothing(owner: Tenant) -> None:
    alert = fired(owner)
    acknowledge(owner)
    judged(alert.rule)
    reopen(owner)
    judged(alert.rule)
    alert.refresh_from_db()
    assert (alert.state, alert.clear_since) == ("FIRING", None)


@cases("end", ["disable", "remove"])
def test_the_alerts_of_a_rule_that_is_disabled_or_removed_are_resolved(owner: Tenant, end: str) -> None:
    alert = fired(owner, channel(owner))
    made = queries.rule(owner, alert.rule_id)
    if end == "disable":
        rules.change(made, actor=ACTOR, enabled=False)
    else:
        rules.remove(made, actor=ACTOR)
    assert evaluation.evaluate() == 1
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"
    assert states(alert)[-1] == ("RESOLVED", "PENDING")
    assert evaluation.evaluate() == 0


def test_a_silenced_rule_tells_nobody_until_its_silence_ends(owner: Tenant) -> None:
    later = timezone.now() + timedelta(hours=1)
    alert = fired(owner, channel(owner), silenced_until=later)
    assert (alert.state, states(alert)) == ("FIRING", [])
    rules.change(queries.rule(owner, alert.rule_id), actor=ACTOR, silenced_until=None)
    judged(alert.rule)
    assert states(alert) == [("FIRING", "PENDING")]


def test_an_alert_that_nobody_was_told_of_ends_without_a_message(owner: Tenant) -> None:
    alert = fired(owner, channel(owner), silenced_until=timezone.now() + timedelta(hours=1))
    acknowledge(owner)
    judged(alert.rule)
    let_clear(alert)
    rules.change(queries.rule(owner, alert.rule_id), actor=ACTOR, silenced_until=None)
    assert [state for state, _ in judged(alert.rule)] == ["RESOLVED"]
    assert states(alert) == []


def test_a_silenced_alert_is_resolved_without_a_message(owner: Tenant) -> None:
    alert = fired(owner, channel(owner))
    hour = timezone.now() + timedelta(hours=1)
    for until in (hour, None, hour):
        silencing.silence(alert, until=until, actor=ACTOR)
        assert (alert.silenced_until, alert.silenced_by) == (until, ACTOR if until else "")
    acknowledge(owner)
    judged(alert.rule)
    let_clear(alert)
    judged(alert.rule)
    assert states(alert) == [("FIRING", "PENDING")]
    kinds = ["FIRED", "SILENCED", "UNSILENCED", "SILENCED", "RESOLVED"]
    assert list(alert.events.values_list("kind", flat=True)) == kinds
    with pytest.raises(AlertIsResolved):
        silencing.silence(alert, until=None, actor=ACTOR)


def test_one_broken_rule_does_not_stop_the_others(owner: Tenant) -> None:
    broken = rule(owner, "stranded", name="broken")
    type(broken).objects.filter(pk=broken.pk).update(thresholds={"minutes": 10**15})
    made = rule(owner)
    making.dead(owner, "dead")
    assert evaluation.evaluate() == 1
    assert Alert.objects.get().rule == made


@cases(("days", "removed"), [(None, 0), (29, 0), (31, 1)])
def test_a_resolved_alert_is_removed_after_its_days_with_its_events_and_messages(
    owner: Tenant, settings: Any, days: int | None, removed: int
) -> None:
    settings.ALERT_RETENTION_DAYS, settings.SWEEP_LIMIT = 30, 2
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
