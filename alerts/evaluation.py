"""Judges the rules: opens and resolves alerts, and writes their messages. Reads, silences and removes alerts.

An alert is FIRING from the first time that its subject is found until it was not found for CLEAR_SECONDS, by the clock
of the database. Several processes may evaluate at the same time: the row of the rule is locked while its alerts change,
and the database accepts one firing alert of a rule and subject. What a condition finds is read before, without locks.
"""

import json
import logging
import time
import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from alerts.conditions import CONDITIONS, MOST_FOUND, Finding, Look
from alerts.deliveries import announce
from alerts.kinds import Kind
from alerts.models import LONGEST, Alert, AlertEvent, AlertRule
from foundation.database.bounded import time_limit
from foundation.database.postgresql.outage import is_outage
from foundation.errors import Conflict, NotFound, QueryTooSlow
from outbox.outbox import sending_seconds
from releases.models import Pipeline
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

log = logging.getLogger(__name__)
ACTOR: Final = "coordinator"
EVALUATE_TASK: Final = "alerts.evaluate"
REMOVE_TASK: Final = "alerts.remove_old"
CLEAR_SECONDS: Final = 60
CONDITION_SECONDS: Final = 5.0
"""How long each query of a condition may take."""
_FIRING = Alert.objects.filter(rule=OuterRef("pk"), state=Alert.State.FIRING)
_PIPELINES = Prefetch("pipeline", Pipeline.objects.only("pipeline_id"))

# Locks a rule, so that its alerts are judged by one process at a time. No row is impossible: rules are never deleted.
LOCK_RULE = "SELECT r.id FROM alerts_alertrule r WHERE r.id = %(rule)s FOR UPDATE"

# Opens an alert for each finding that has none, with its first event. No row: every finding has a firing alert, or the
# rule was disabled or removed.
FIRE = """
WITH fired AS (
    INSERT INTO alerts_alert (tenant_id, rule_id, subject, title, detail, path)
    SELECT r.tenant_id, r.id, f.subject, f.title, f.detail, f.path
    FROM alerts_alertrule r
    CROSS JOIN json_to_recordset(%(found)s::json) AS f(subject text, title text, detail text, path text)
    WHERE r.id = %(rule)s AND r.enabled AND r.removed_at IS NULL
    ORDER BY f.subject
    ON CONFLICT (rule_id, subject) WHERE state = 'FIRING' DO NOTHING
    RETURNING id
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, 'FIRED', %(actor)s, '{}' FROM fired RETURNING alert_id
"""

# Notes which firing alerts were found again, and since when the others were not. While the list of findings is cut, any
# alert may be among those that are not listed. No row: nothing has changed.
NOTE = """
UPDATE alerts_alert SET clear_since = CASE WHEN %(cut)s OR subject = ANY(%(subjects)s) THEN NULL ELSE now() END
WHERE rule_id = %(rule)s AND state = 'FIRING' AND (%(cut)s OR subject = ANY(%(subjects)s)) = (clear_since IS NOT NULL)
"""

# Resolves the firing alerts that were not found for %(seconds)s seconds, or all of a rule that is disabled or removed,
# each with its event and, if its first message was written, another message. First messages that wait for another
# attempt are due at the end of an attempt's lease, because the second message waits for their end. No row: none is to
# be resolved.
RESOLVE = """
WITH resolved AS (
    UPDATE alerts_alert a SET state = 'RESOLVED'
    FROM alerts_alertrule r
    WHERE r.id = a.rule_id AND a.rule_id = %(rule)s AND a.state = 'FIRING'
        AND (a.clear_since <= now() - make_interval(secs => %(seconds)s) OR NOT r.enabled OR r.removed_at IS NOT NULL)
    RETURNING a.id, a.tenant_id, a.rule_id, a.notified_at IS NOT NULL
        AND coalesce(greatest(a.silenced_until, r.silenced_until) <= now(), true) AS announced
), hastened AS (
    UPDATE alerts_alertdelivery d SET next_at = least(d.next_at, now() + make_interval(secs => %(lease)s))
    FROM resolved a WHERE d.alert_id = a.id AND d.kind = 'FIRING' AND d.state = 'PENDING'
), messages AS (
    INSERT INTO alerts_alertdelivery (tenant_id, channel_id, alert_id, kind)
    SELECT a.tenant_id, c.id, a.id, 'RESOLVED' FROM resolved a
    JOIN alerts_rulechannel l ON l.rule_id = a.rule_id
    JOIN alerts_alertchannel c ON c.id = l.channel_id AND c.enabled AND c.removed_at IS NULL
    WHERE a.announced
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, 'RESOLVED', %(actor)s, '{}' FROM resolved RETURNING alert_id
"""

# Writes the first messages of the firing alerts that have none and are not silenced. No row: there are none.
NOTIFY = """
WITH notified AS (
    UPDATE alerts_alert a SET notified_at = now()
    FROM alerts_alertrule r
    WHERE r.id = a.rule_id AND a.rule_id = %(rule)s AND a.state = 'FIRING' AND a.notified_at IS NULL
        AND coalesce(greatest(a.silenced_until, r.silenced_until) <= now(), true)
    RETURNING a.id, a.tenant_id, a.rule_id
)
INSERT INTO alerts_alertdelivery (tenant_id, channel_id, alert_id, kind)
SELECT a.tenant_id, c.id, a.id, 'FIRING' FROM notified a
JOIN alerts_rulechannel l ON l.rule_id = a.rule_id
JOIN alerts_alertchannel c ON c.id = l.channel_id AND c.enabled AND c.removed_at IS NULL
"""

# Silences a firing alert, or ends its silence, with its event. No row: the alert is resolved.
SILENCE = """
WITH silenced AS (
    UPDATE alerts_alert SET silenced_until = %(until)s, silenced_by = %(by)s
    WHERE id = %(alert)s AND state = 'FIRING' RETURNING id
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, %(kind)s, %(actor)s, %(data)s::jsonb FROM silenced RETURNING alert_id
"""

# Removes a batch of resolved alerts, with their events and messages: three statements of one transaction, because the
# rows that belong to an alert may be removed only after it. No row: none is old enough.
REMOVE_ALERTS = """
DELETE FROM alerts_alert WHERE id IN (
    SELECT id FROM alerts_alert WHERE state = 'RESOLVED' AND resolved_at < now() - make_interval(days => %(days)s)
    ORDER BY resolved_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id
"""
REMOVE_DELIVERIES_OF_ALERTS = "DELETE FROM alerts_alertdelivery WHERE alert_id = ANY(%s)"
REMOVE_EVENTS = "DELETE FROM alerts_alertevent WHERE alert_id = ANY(%s)"

# Removes a batch of old finished messages, of alerts and about executions. No row: none is old enough.
REMOVE_DELIVERIES = """
WITH of_alerts AS (
    DELETE FROM alerts_alertdelivery WHERE id IN (
        SELECT id FROM alerts_alertdelivery
        WHERE state <> 'PENDING' AND finished_at < now() - make_interval(days => %(days)s)
        ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
), of_executions AS (
    DELETE FROM executions_notification WHERE id IN (
        SELECT id FROM executions_notification
        WHERE state <> 'PENDING' AND finished_at < now() - make_interval(days => %(days)s)
        ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT id FROM of_alerts UNION ALL SELECT id FROM of_executions
"""


class AlertUnknown(NotFound, title="The tenant has no such alert"):
    """Check the id in the list of alerts."""


class AlertIsResolved(Conflict, title="The alert is resolved", code="ALERT_RESOLVED"):
    """Nothing is left to do."""


def alerts(tenant: Tenant) -> QuerySet[Alert]:
    """Return all alerts of the tenant, each with its rule. The caller has checked access to the tenant."""
    return Alert.objects.filter(tenant=tenant).select_related("tenant", "rule__pipeline")


def alert(tenant: Tenant, alert_id: uuid.UUID) -> Alert:
    """Return one alert. Raises `AlertUnknown`."""
    row = alerts(tenant).filter(pk=alert_id).first()
    if row is None:
        raise AlertUnknown(f"There is no alert {alert_id}.")
    return row


def evaluate() -> int:
    """Judge every rule. Return how many alerts fired or were resolved.

    If one rule fails or takes too long, the error is logged, and the others are still judged. A database outage ends
    the evaluation.
    """
    changed = 0
    live = Q(enabled=True, removed_at=None)
    rules = AlertRule.objects.filter(live | Q(Exists(_FIRING))).select_related("tenant").prefetch_related(_PIPELINES)
    for rule in list(rules.order_by("pk")):
        try:
            changed += evaluate_rule(rule)
        except QueryTooSlow:
            log.warning("Alert rule %s of %s takes too long", rule.pk, rule.tenant)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("Alert rule %s could not be judged", rule.pk)
    announce()
    return changed


def evaluate_rule(rule: AlertRule) -> int:
    """Judge one rule. Return how many of its alerts fired or were resolved."""
    firing = frozenset(rule.alerts.filter(state=Alert.State.FIRING).values_list("subject", flat=True))
    findings: list[Finding] = []
    if rule.enabled and rule.removed_at is None:
        with time_limit(CONDITION_SECONDS):
            findings = CONDITIONS[Kind(rule.kind)](Look(rule, firing))
    if not findings and not firing:
        return 0
    # The texts of findings are cut, so that they fit their columns.
    stored = [{name: text[: LONGEST[name]] for name, text in asdict(finding).items()} for finding in findings]
    parameters: dict[str, Any] = {
        "rule": rule.pk,
        "actor": ACTOR,
        "found": json.dumps(stored),
        "subjects": [finding.subject for finding in findings],
        "cut": len(findings) >= MOST_FOUND,
        "seconds": CLEAR_SECONDS,
        "lease": sending_seconds(),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_RULE, parameters)
        cursor.execute(FIRE, parameters)
        fired = int(cursor.rowcount)
        cursor.execute(NOTE, parameters)
        cursor.execute(RESOLVE, parameters)
        resolved = int(cursor.rowcount)
        cursor.execute(NOTIFY, parameters)
    return fired + resolved


def silence(alert: Alert, *, until: datetime | None, actor: str) -> Alert:
    """Silence a firing alert until a time, or end its silence if `until` is None. Return the alert.

    Raises `AlertIsResolved`.
    """
    kind = AlertEvent.Kind.SILENCED if until else AlertEvent.Kind.UNSILENCED
    parameters = {
        "alert": alert.pk,
        "until": until,
        "by": actor if until else "",
        "kind": kind.value,
        "actor": actor,
        "data": json.dumps({"until": until.isoformat()} if until else {}),
    }
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(SILENCE, parameters)
            if cursor.rowcount == 0:
                raise AlertIsResolved(f"The alert {alert.pk} is resolved, so there is nothing to silence.")
        act = Act.ALERT_SILENCE if until else Act.ALERT_UNSILENCE
        audit.record(act, tenant=alert.tenant, actor=actor, object=alert.pk, rule=alert.rule.name)
    alert.refresh_from_db()
    return alert


def remove_old(*, seconds: float) -> int:
    """Remove what ended more than ALERT_RETENTION_DAYS ago, until nothing is left or `seconds` have passed.

    Firing alerts and pending messages are never removed. Returns how many alerts and other messages were
    removed.
    """
    deadline = time.monotonic() + seconds
    retention = {"days": settings.ALERT_RETENTION_DAYS, "limit": settings.SWEEP_LIMIT}
    removed = 0
    for batch in (_remove_alerts, _remove_deliveries):
        while time.monotonic() < deadline:
            count = batch(retention)
            removed += count
            if not count:
                break
    return removed


def _remove_alerts(retention: dict[str, int]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(REMOVE_ALERTS, retention)
        ids = [alert_id for (alert_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(REMOVE_DELIVERIES_OF_ALERTS, [ids])
            cursor.execute(REMOVE_EVENTS, [ids])
    return len(ids)


def _remove_deliveries(retention: dict[str, int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(REMOVE_DELIVERIES, retention)
        return int(cursor.rowcount)
