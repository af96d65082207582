"""The first page after the log-in: what is active, what runs it, what waits, what failed."""

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
FAILURES_OF = timedelta(hours=24)
MOST_WAITING = 999
"""Up to here questions are counted; more are told as more."""


@dataclass
class Line:
    """One pipeline of the overview."""

    pipeline: Pipeline
    workers: int
    live: Counter[str] = field(default_factory=Counter)
    failed: int = 0


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's hook: adds the overview of the person's tenants to the index page."""
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
        "most_waiting": MOST_WAITING,
        "stranded": waiting,
        "stranded_count": sum(each.count for each in waiting),
        "activations": _activations(tenant_ids),
    }
    return {**context, **overview}


def waiting_count(tenants: QuerySet[Tenant] | list[int]) -> int:
    """How many questions wait for an answer, counted no further than one more than MOST_WAITING."""
    rows = Interaction.objects.filter(tenant__in=tenants, status__in=Interaction.OPEN).exclude(transport=TIMER)
    return rows.order_by()[: MOST_WAITING + 1].count()


def _admitting_workers(tenant_ids: list[int]) -> Counter[int | None]:
    """Return how many workers admit new executions of each release."""
    rows = WorkerEligibility.objects.filter(worker__tenant__in=tenant_ids, admits=True)
    return Counter(rows.values_list("release_id", flat=True))


def _live(tenant_ids: list[int]) -> Counter[tuple[int, str]]:
    rows = Execution.objects.filter(tenant__in=tenant_ids).exclude(status__in=TERMINAL_VALUES).order_by()
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
    """What failed for good lately: an index of failures finds those, however many executions a day has."""
    since = timezone.now() - FAILURES_OF
    rows = Execution.objects.filter(tenant__in=tenant_ids, finished_at__gte=since, status__in=FAILED).order_by()
    counted = rows.values_list("tenant_id", "pipeline_id").annotate(count=Count("pk"))
    return defaultdict(int, {(tenant_id, pipeline_id): count for tenant_id, pipeline_id, count in counted})


def _activations(tenant_ids: list[int]) -> list[Activation]:
    rows = Activation.objects.filter(pipeline__tenant__in=tenant_ids)
    return list(rows.select_related("pipeline__tenant", "release", "previous").order_by("-pk")[:ACTIVATIONS_SHOWN])
