"""Failures: unacknowledged groups, and the share of executions that fail."""

from datetime import timedelta
from typing import Final

from django.db import connection
from django.db.models.functions import Now

from alerts.conditions import statements
from alerts.conditions.finding import MOST_FOUND, Finding, Look
from executions.models import FailureGroup, is_new

RECENT: Final = timedelta(days=1)
STILL: Final = 80
"""An alert on a failure rate ends below this share of its threshold, in percent."""
SUBJECT: Final = "pipeline:"


def new_groups(look: Look) -> list[Finding]:
    """Find the groups that failed within a day, and since the rule was made, and are not acknowledged."""
    groups = FailureGroup.objects.filter(
        is_new(),
        look.of_pipeline("release__pipeline"),
        tenant=look.rule.tenant_id,
        last_seen_at__gte=Now() - RECENT,
    ).filter(last_seen_at__gte=look.rule.created_at)
    found = groups.select_related("release__pipeline").order_by("-last_seen_at", "-id")[:MOST_FOUND]
    return [
        Finding(
            f"group:{group.pk}",
            f"{group.release.pipeline.pipeline_id} fails with {group.error_code}",
            f"/admin/executions/failuregroup/{group.pk}/change/",
            f"Release {group.release.release_version}, step {group.step_index + 1}. It is not acknowledged.",
        )
        for group in found
    ]


def rates(look: Look) -> list[Finding]:
    """Find the pipelines of whose executions too many failed. An alert ends at four fifths of the threshold."""
    rule = look.rule
    minutes = rule.threshold("minutes")
    firing = [int(subject.removeprefix(SUBJECT)) for subject in look.firing]
    parameters = look.parameters(
        minutes=minutes,
        minimum=rule.threshold("minimum"),
        percent=rule.threshold("percent"),
        firing=firing,
        still=rule.threshold("percent") * STILL / 100,
    )
    with connection.cursor() as cursor:
        cursor.execute(statements.FAILURE_RATES, parameters)
        rows = cursor.fetchall()
    return [
        Finding(
            f"{SUBJECT}{pk}",
            f"{100 * failed / ended:.0f} % of the executions of {name} fail",
            f"/admin/releases/pipeline/{pk}/change/",
            f"{failed} of {ended} executions that ended within {minutes} minutes failed.",
        )
        for pk, name, failed, ended in rows
    ]
