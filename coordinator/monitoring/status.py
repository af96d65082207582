"""The status of the installation: its processes, what it depends on, and what waits; the API and the page that show it.

`/metrics` is for scrapers that bear METRICS_TOKEN.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any, ClassVar, Final

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from unfold.admin import ModelAdmin

from coordinator import boot_checks, health
from coordinator.models import Process
from coordinator.monitoring.gauges import DUE, MOST_DUE, MOST_RELEASES, PROCESSES, exposition, rows
from coordinator.monitoring.process import version
from coordinator.processes import SILENT_SECONDS, Kind
from executions.workers import message_path
from foundation.database.bounded import time_limit
from foundation.errors import QueryTooSlow
from tenancy.api.operations import TENANT, TenantView
from wire.probes import TEXT, bears

READ_SECONDS: Final = 3.0
LARGEST_DRIFT: Final = 2.0
"""Seconds by which a clock may differ. Signed messages tolerate more, but times on pages would be wrong."""


class Part(StrEnum):
    """Whether a part on which the installation depends answers."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class Reported:
    """A process, as it last reported itself."""

    kind: Kind
    host: str
    pid: int
    version: str
    started_at: datetime
    reported_at: datetime
    silent_seconds: float
    drift_seconds: float
    jobs: Mapping[str, str]

    @property
    def is_silent(self) -> bool:
        return self.silent_seconds > SILENT_SECONDS

    @property
    def drifts(self) -> bool:
        return abs(self.drift_seconds) > LARGEST_DRIFT


def status(tenant: str | None = None) -> dict[str, Any]:
    """Return the status now, with the due executions of one tenant, or of all. Raises `QueryTooSlow`.

    `missing` are the kinds without a process that reports itself. `migrations` are those that were not applied.
    `outcome_delay` is by how many seconds outcomes are read late, 0 if they are in time.
    """
    with time_limit(READ_SECONDS):
        due = rows(DUE, releases=MOST_RELEASES, most=MOST_DUE)
        running = rows(PROCESSES)
        delay = message_path.outcome_delay()
    now = timezone.now()
    processes = [
        Reported(Kind(kind), host, pid, release, started, reported, silent, drift, json.loads(jobs or "{}"))
        for kind, host, pid, release, started, reported, silent, drift, jobs in running
    ]
    reporting = {process.kind for process in processes if not process.is_silent}
    queues = [
        {
            "tenant": slug,
            "pipeline_id": pipeline_id,
            "release_version": release_version,
            "count": count,
            "is_more": count >= MOST_DUE,
            "oldest_due_at": now - timedelta(seconds=seconds),
            "hosted": hosted,
        }
        for slug, pipeline_id, release_version, count, seconds, hosted in due
        if tenant in (None, slug)
    ]
    return {
        "version": version(),
        "database": health.database.status(),
        "broker": health.broker.status(),
        "store": health.store.status(),
        "processes": processes,
        "missing": [kind for kind in Kind if kind not in reporting],
        "jobs": list(_jobs(processes)),
        "queues": sorted(queues, key=itemgetter("oldest_due_at")),
        "migrations": boot_checks.pending(connection),
        "outcome_delay": delay,
    }


def _jobs(processes: Sequence[Reported]) -> Iterator[dict[str, Any]]:
    """Yield the jobs by name: how often the clock starts them, and when it last did; None if no clock reported a run.

    A job that has not run yet is late if the clock has run for longer than it may take. The times of reports are by the
    database's clock, and so is this.
    """
    reported = max((process.reported_at for process in processes), default=None)
    started = max((process.started_at for process in processes if process.kind == Kind.CLOCK), default=None)
    for name, job in sorted(settings.CELERY_BEAT_SCHEDULE.items()):
        runs = [datetime.fromisoformat(process.jobs[name]) for process in processes if name in process.jobs]
        last, every = max(runs, default=None), job["schedule"]
        since, longest = last or started, 2 * every + timedelta(seconds=SILENT_SECONDS)
        late = since is None or reported is None or reported - since > longest
        yield {"name": name, "every_seconds": every.total_seconds(), "last_run_at": last, "is_late": late}


PARTS: Sequence[str] = [part.value for part in Part]


class ProcessView(serializers.Serializer[Reported]):
    kind = serializers.ChoiceField(choices=Kind.choices())
    version = serializers.CharField()
    startedAt = serializers.DateTimeField(source="started_at")
    reportedAt = serializers.DateTimeField(source="reported_at")
    silent = serializers.BooleanField(source="is_silent", help_text="True if its reports have ceased.")
    driftSeconds = serializers.FloatField(
        source="drift_seconds", help_text="How far its clock is ahead of the database's."
    )


class JobView(serializers.Serializer[Any]):
    name = serializers.CharField()
    everySeconds = serializers.FloatField(source="every_seconds", help_text="How often the clock starts it.")
    lastRunAt = serializers.DateTimeField(source="last_run_at", allow_null=True)
    late = serializers.BooleanField(source="is_late", help_text="True if its last run is too long ago.")


class QueueView(serializers.Serializer[Any]):
    pipelineId = serializers.CharField(source="pipeline_id")
    releaseVersion = serializers.CharField(source="release_version")
    due = serializers.IntegerField(source="count", help_text="Due executions. At most 5000 are counted.")
    oldestDueAt = serializers.DateTimeField(source="oldest_due_at")
    hosted = serializers.BooleanField(help_text="False if no worker may run them: they are stranded.")


class StatusView(serializers.Serializer[Any]):
    version = serializers.CharField(help_text="The version of the web process that responds.")
    database = serializers.ChoiceField(choices=PARTS)
    broker = serializers.ChoiceField(choices=PARTS)
    artifactStore = serializers.ChoiceField(choices=PARTS, source="store")
    missing = serializers.ListField(
        child=serializers.ChoiceField(choices=Kind.choices()),
        help_text="Kinds of processes without any that reports itself.",
    )
    pendingMigrations = serializers.ListField(child=serializers.CharField(), source="migrations")
    outcomeDelaySeconds = serializers.FloatField(
        source="outcome_delay", help_text="How late outcomes of workers are read; 0 if they are read in time."
    )
    processes = ProcessView(many=True)
    jobs = JobView(many=True, help_text="The periodic jobs of the clock.")
    queues = QueueView(many=True)


@extend_schema(parameters=[TENANT], tags=["status"])
class InstallationStatus(TenantView):
    refusals: ClassVar = {"GET": (QueryTooSlow,)}

    @extend_schema(operation_id="status", responses=StatusView)
    def get(self, request: Request, tenant: str) -> Response:
        """The processes of the installation, what it depends on, and the due executions of the tenant."""
        shown: Any = StatusView(status(self.tenant.slug)).data
        return Response(shown)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Respond with the metrics of all web processes of the same parent. Without METRICS_TOKEN there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not bears(request.headers.get("Authorization", ""), settings.METRICS_TOKEN):
        challenge = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("The token is missing or wrong.\n", TEXT, status=401, headers=challenge)
    return HttpResponse(exposition.text(), CONTENT_TYPE_LATEST)


urlpatterns = [path("status", InstallationStatus.as_view(), name="status")]


DEPENDENCIES = (("Database", "database"), ("Broker", "broker"), ("Artifact store", "store"))


@admin.register(Process)
class StatusAdmin(ModelAdmin):
    """Shows the status of the installation in place of a list of rows."""

    def get_urls(self) -> list[URLPattern]:
        """There is one page. The rows have none."""
        page = self.admin_site.admin_view(self.changelist_view)
        return [path("", page, name="coordinator_process_changelist")]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    has_module_permission = has_view_permission

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = status()
        frame = {
            **self.admin_site.each_context(request),
            "title": "Status",
            "status": shown,
            "parts": [(title, shown[name]) for title, name in DEPENDENCIES],
            "silent_after": f"{SILENT_SECONDS:g}",
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "monitoring/status.html", frame)
