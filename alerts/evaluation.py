"""Judges the rules: opens and resolves alerts, and writes their messages.

An alert is FIRING from the first time that its subject is found until it was not found for CLEAR_SECONDS, by the clock
of the database. Several processes may evaluate at the same time: the row of the rule is locked while its alerts change,
and the database accepts one firing alert of a rule and subject. What a condition finds is read before, without locks.
"""

import json
import logging
from dataclasses import asdict
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from alerts import statements
from alerts.conditions import CONDITIONS, MOST_FOUND, Finding, Look
from alerts.delivery import deliveries
from alerts.kinds import Kind
from alerts.models import Alert, AlertRule
from alerts.models.alert import LONGEST
from executions.awaits.webhooks import sending_seconds
from foundation.database.bounded import time_limit
from foundation.database.postgresql.outage import is_outage
from foundation.errors import QueryTooSlow

log = logging.getLogger(__name__)
ACTOR: Final = "coordinator"
EVALUATE_TASK: Final = "alerts.evaluate"
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
    deliveries.announce()
    return changed


def evaluate_rule(rule: AlertRule) -> int:
    """Judge one rule. Return how many of its alerts fired or were resolved."""
    firing = frozenset(rule.alerts.filter(state=Alert.State.FIRING).values_list("subject", flat=True))
    found = _found(rule, firing)
    if not found and not firing:
        return 0
    parameters: dict[str, Any] = {
        "rule": rule.pk,
        "actor": ACTOR,
        "found": json.dumps([_stored(finding) for finding in found]),
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


def _found(rule: AlertRule, firing: frozenset[str]) -> list[Finding]:
    if not rule.enabled or rule.removed_at is not None:
        return []
    with time_limit(CONDITION_SECONDS):
        return CONDITIONS[Kind(rule.kind)](Look(rule, firing))


def _stored(finding: Finding) -> dict[str, str]:
    """Return the finding with texts that fit their columns."""
    return {name: str(text)[: LONGEST[name]] for name, text in asdict(finding).items()}
