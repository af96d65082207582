"""The release from whose failures an alert leads to the guided recovery."""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Sum

from alerts.kinds import Kind
from alerts.models import Alert, page_of
from executions.models import FailureGroup, FinishedCount
from releases.models import GradualActivation, Release

AFTER_START: Final = timedelta(hours=1)


def recovery_path(alert: Alert) -> str:
    """Return the path of the page that guides through the recovery from the release that fails; "" for other alerts.

    Of a pipeline, it is the release with the most failures from the time that the rule looks at until an hour after the
    start of the alert. Makes at most one query.
    """
    kind, key = Kind(alert.rule.kind), alert.subject.rpartition(":")[2]
    release: int | None = None
    if kind == Kind.NEW_FAILURE_GROUP:
        release = FailureGroup.objects.filter(pk=key).values_list("release", flat=True).first()
    elif kind == Kind.GRADUAL_WITHDRAWN:
        release = GradualActivation.objects.filter(pk=key).values_list("candidate", flat=True).first()
    elif kind == Kind.FAILURE_RATE:
        release = _worst(int(key), alert.started_at, timedelta(minutes=alert.rule.threshold("minutes")))
    return page_of(Release, release, page="recovery") if release else ""


def _worst(pipeline: int, started_at: datetime, looked_at: timedelta) -> int | None:
    """Return the release of the pipeline with the most failures around this time; None if their counts are removed."""
    counts = FinishedCount.objects.filter(
        release__pipeline=pipeline, minute__gte=started_at - looked_at, minute__lte=started_at + AFTER_START
    )
    failed = counts.order_by().values("release").annotate(sum=Sum("failed")).filter(sum__gt=0)
    return failed.order_by("-sum", "-release").values_list("release", flat=True).first()
