"""Silences alerts: no message about a silenced alert is written until its silence ends."""

import json
from datetime import datetime

from django.db import connection, transaction

from alerts import statements
from alerts.errors import AlertIsResolved
from alerts.models import Alert, AlertEvent
from tenancy import audit
from tenancy.audit.acts import Act


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
        audit.record(act, tenant=alert.tenant, actor=actor, object_type="alert", object=alert.pk, rule=alert.rule.name)
    alert.refresh_from_db()
    return alert
