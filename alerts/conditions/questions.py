"""Open questions whose deadline is near."""

from urllib.parse import urlencode

from django.db import connection

from alerts.conditions import statements
from alerts.conditions.finding import Finding, Look


def near_deadlines(look: Look) -> list[Finding]:
    """Find the steps with open questions that reach their deadline within the rule's minutes."""
    minutes = look.rule.threshold("minutes")
    with connection.cursor() as cursor:
        cursor.execute(statements.NEAR_DEADLINES, look.parameters(minutes=minutes))
        rows = cursor.fetchall()
    return [
        Finding(
            f"step:{pk}:{step}",
            f"{count} open question{'' if count == 1 else 's'} of {step} in {name} near the deadline",
            f"/admin/executions/interaction/?{urlencode({'pipeline': name})}",
            f"The first deadline is {deadline:%Y-%m-%d %H:%M:%S} UTC.",
        )
        for pk, name, step, count, deadline in rows
    ]
