"""Judges the rules: opens and resolves alerts, and writes their messages. Silences alerts, and removes old ones.

An alert is FIRING from the first time that its subject is found until it was not found for CLEAR_SECONDS, by the clock
of the database. Several processes may evaluate at the same time: the row of the rule is locked while its alerts change,
and the database accepts one firing alert of a rule and subject. What a condition finds is read before, without locks.
"""

import json
import logging
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from alerts import statements
from alerts.conditions import CONDITIONS, MOST_FOUND, Finding, Look
from alerts.deliveries import OUTBOX
from alerts.errors import AlertIsResolved
from alerts.kinds import Kind
from alerts.models import LONGEST, Alert, AlertEvent, AlertRule
from foundation.database.bounded import time_limit
from foundation.database.postgresql.outage import is_outage
from foundation.errors import QueryTooSlow
from outbox.outbox import sending_seconds
from tenancy import audit
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)
ACTOR: Final = "coordinator"
EVALUATE_TASK: Final = "alerts.evaluate"
REMOVE_TASK: Final = "alerts.remove_old"
CLEAR_SECONDS: Final = 60
CONDITION_SECONDS: Final = 5.0
"""How long each query of a condition may take."""
_FIRING = Alert.objects.filter(rule=OuterRef("pk"), state=Alert.State.FIRING)


def evaluate() -> int:
    """Judge every rule. Return how many alerts fired or were resolved.

    If one rule fails or takes too long, the error is logged, and the others are still judged. A database outage ends
    the evaluation.
    """
    changed = 0
    live = Q(enabled=True, removed_at=None)
    rules = AlertRule.objects.filter(live | Q(Exists(_FIRING))).select_related("tenant", "pipeline").order_by("pk")
    for rule in list(rules):
        try:
            changed += evaluate_rule(rule)
        except QueryTooSlow:
            log.warning("Alert rule %s of %s takes too long", rule.pk, rule.tenant)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("Alert rule %s could not be judged", rule.pk)
    OUTBOX.announce()
    return changed


def evaluate_rule(rule: AlertRule) -> int:
    """Judge one rule. Return how many of its alerts fired or were resolved."""
    firing = frozenset(rule.alerts.filter(state=Alert.State.FIRING).values_list("subject", flat=True))
    found: list[Finding] = []
    if rule.enabled and rule.removed_at is None:
        with time_limit(CONDITION_SECONDS):
            found = CONDITIONS[Kind(rule.kind)](Look(rule, firing))
    if not found and not firing:
        return 0
    # The texts of findings are cut, so that they fit their columns.
    stored = [{name: text[: LONGEST[name]] for name, text in asdict(finding).items()} for finding in found]
    parameters: dict[str, Any] = {
        "rule": rule.pk,
        "actor": ACTOR,
        "found": json.dumps(stored),
        "subjects": [finding.subject for finding in found],
        "cut": len(found) >= MOST_FOUND,
        "seconds": CLEAR_SECONDS,
        "lease": sending_seconds(),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.LOCK_RULE, parameters)
        cursor.execute(statements.FIRE, parameters)
        fired = int(cursor.rowcount)
        cursor.execute(statements.NOTE, parameters)
        cursor.execute(statements.RESOLVE, parameters)
        resolved = int(cursor.rowcount)
        cursor.execute(statements.NOTIFY, parameters)
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
            cursor.execute(statements.SILENCE, parameters)
            if cursor.rowcount == 0:
                raise AlertIsResolved(f"The alert {alert.pk} is resolved, so there is nothing to silence.")
        act = Act.ALERT_SILENCE if until else Act.ALERT_UNSILENCE
        audit.record(act, tenant=alert.tenant, actor=actor, object=alert.pk, rule=alert.rule.name)
    alert.refresh_from_db()
    return alert


def remove_old(*, seconds: float) -> int:
    """Remove what ended more than ALERT_RETENTION_DAYS ago, until nothing is left or `seconds` have passed.

    Firing alerts and pending messages are never removed. Returns how many alerts and other messages
    were removed.
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
        cursor.execute(statements.REMOVE_ALERTS, retention)
        ids = [alert_id for (alert_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(statements.REMOVE_DELIVERIES_OF_ALERTS, [ids])
            cursor.execute(statements.REMOVE_EVENTS, [ids])
    return len(ids)


def _remove_deliveries(retention: dict[str, int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statements.REMOVE_DELIVERIES, retention)
        return int(cursor.rowcount)
