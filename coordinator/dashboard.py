"""The overview page: active releases, their workers, live and stranded executions, and failures.

Smoke tests are counted only as stranded, because they wait for a worker as other executions do.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from executions.awaits.awaits import TIMER
from executions.models import TERMINAL_VALUES, Execution, Interaction, WorkerEligibility
from executions.models.states import State
from executions.workers.stranded import stranded
from releases.models import Activation, Pipeline, Release
from tenancy.access import tenants_of
from tenancy.models import Tenant

PIPELINES_SHOWN = 100
ACTIVATIONS_SHOWN = 8
FAILED = (State.FAILED.value, State.DLQ.value)
FAILED_WITHIN = timedelta(hours=24)
MAX_COUNTED = 999
"""The largest number of open questions that is counted."""


@dataclass
class Line:
    """A pipeline in the overview. `live` counts executions by state, `failed` those of the last 24 hours."""

    pipeline: Pipeline
    workers: int
    live: Counter[str] = field(default_factory=Counter)
    failed: int = 0


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the overview of the user's tenants to the context of the index page. Unfold calls this."""
    tenant_ids = list(tenants_of(request.user).values_list("pk", flat=True))
    workers = _admitting_workers(tenant_ids)
    live = _live(tenant_ids)
    lines = _lines(tenant_ids, workers, live)
    waiting = stranded(tenant_ids)
    overview = {
        "title": "Overview",
        "has_tenants": bool(tenant_ids),
        "many_tenants": len(tenant_ids) > 1,
        "lines": lines,
        "more_pipelines": len(lines) == PIPELINES_SHOWN,
        "live_count": sum(live.values()),
        "retry_count": sum(count for (_, status), count in live.items() if status == State.WAIT_RETRY.value),
        "failed_count": sum(line.failed for line in lines),
        "worker_count": workers.total(),
        "waiting_count": waiting_count(tenant_ids),
        "max_counted": MAX_COUNTED,
        "stranded": waiting,
        "stranded_count": sum(each.count for each in waiting),
        "activations": _activations(tenant_ids),
    }
    return {**context, **overview}


def waiting_count(tenants: QuerySet[Tenant] | list[int]) -> int:
    """Return the number of open questions, at most MAX_COUNTED + 1."""
    rows = Interaction.objects.filter(tenant__in=tenants, status__in=Interaction.OPEN).exclude(transport=TIMER)
    return rows.order_by()[: MAX_COUNTED + 1].count()


def _admitting_workers(tenant_ids: list[int]) -> Counter[int | None]:
    """Count the workers that admit new executions, by release."""
    rows = WorkerEligibility.objects.filter(worker__tenant__in=tenant_ids, admits=True)
    return Counter(rows.values_list("release_id", flat=True))


def _live(tenant_ids: list[int]) -> Counter[tuple[int, str]]:
    rows = Execution.objects.filter(tenant__in=tenant_ids, smoke=False).exclude(status__in=TERMINAL_VALUES).order_by()
    counted = rows.values_list("release_id", "status").annotate(count=Count("pk"))
    return Counter({(release_id, status): count for release_id, status, count in counted})


def _lines(tenant_ids: list[int], workers: Counter[int | None], live: Counter[tuple[int, str]]) -> list[Line]:
    rows = Pipeline.objects.filter(tenant__in=tenant_ids).select_related("tenant", "activation__release")
    pipelines = list(rows.order_by("tenant__slug", "pipeline_id")[:PIPELINES_SHOWN])
    lines = {
        pipeline.pk: Line(pipeline, workers[pipeline.activation.release_id] if pipeline.activation else 0)
        for pipeline in pipelines
    }
    owners = dict(Release.objects.filter(pk__in={pk for pk, _ in live}).values_list("pk", "pipeline_id"))
    for (release_id, status), count in live.items():
        if line := lines.get(owners[release_id]):
            line.live[status] += count
    failed = _failed(tenant_ids)
    for line in lines.values():
        line.failed = failed[line.pipeline.tenant_id, line.pipeline.pipeline_id]
    return list(lines.values())


def _failed(tenant_ids: list[int]) -> defaultdict[tuple[int, str], int]:
    """Count the recent failures by tenant and pipeline id. An index contains only failed executions."""
    since = timezone.now() - FAILED_WITHIN
    failed = Execution.objects.filter(tenant__in=tenant_ids, finished_at__gte=since, status__in=FAILED)
    counted = failed.filter(smoke=False).order_by().values_list("tenant_id", "pipeline_id").annotate(count=Count("pk"))
    return defaultdict(int, {(tenant_id, pipeline_id): count for tenant_id, pipeline_id, count in counted})


def _activations(tenant_ids: list[int]) -> list[Activation]:
    rows = Activation.objects.filter(pipeline__tenant__in=tenant_ids).order_by("-pk")
    return list(rows.select_related("pipeline__tenant", "release", "previous", "candidate")[:ACTIVATIONS_SHOWN])
