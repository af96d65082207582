"""The status of the installation, as a tenant may see it, and `/metrics` for scrapers that bear METRICS_TOKEN."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coordinator.models import Process
from coordinator.monitoring.process import exposition
from coordinator.monitoring.status import Job, Part, Queue, Reported, Status, status
from foundation.errors import QueryTooSlow
from foundation.telemetry.exposition import CONTENT_TYPE, TEXT, bears
from tenancy.api.tenant_view import TENANT, TenantView

PARTS: Sequence[str] = [part.value for part in Part]


class ProcessView(serializers.Serializer[Reported]):
    kind = serializers.ChoiceField(choices=Process.Kind.choices)
    version = serializers.CharField()
    startedAt = serializers.DateTimeField(source="started_at")
    reportedAt = serializers.DateTimeField(source="reported_at")
    silent = serializers.BooleanField(source="is_silent", help_text="True if its reports have ceased.")
    driftSeconds = serializers.FloatField(
        source="drift_seconds", help_text="How far its clock is ahead of the database's."
    )


class JobView(serializers.Serializer[Job]):
    name = serializers.CharField()
    everySeconds = serializers.FloatField(source="every_seconds", help_text="How often the clock starts it.")
    lastRunAt = serializers.DateTimeField(source="last_run_at", allow_null=True)
    late = serializers.BooleanField(source="is_late", help_text="True if its last run is too long ago.")


class QueueView(serializers.Serializer[Queue]):
    pipelineId = serializers.CharField(source="pipeline_id")
    releaseVersion = serializers.CharField(source="release_version")
    due = serializers.IntegerField(source="count", help_text="Due executions. At most 5000 are counted.")
    oldestDueAt = serializers.DateTimeField(source="oldest_due_at")
    hosted = serializers.BooleanField(help_text="False if no worker may run them: they are stranded.")


class StatusView(serializers.Serializer[Status]):
    version = serializers.CharField(help_text="The version of the web process that responds.")
    database = serializers.ChoiceField(choices=PARTS)
    broker = serializers.ChoiceField(choices=PARTS)
    artifactStore = serializers.ChoiceField(choices=PARTS, source="store")
    missing = serializers.ListField(
        child=serializers.ChoiceField(choices=Process.Kind.choices),
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
        found: Any = StatusView(status(self.tenant.slug)).data
        return Response(found)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Respond with the metrics of all web processes of the same parent. Without METRICS_TOKEN there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not bears(request.headers.get("Authorization", ""), settings.METRICS_TOKEN):
        challenge = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("The token is missing or wrong.\n", TEXT, status=401, headers=challenge)
    return HttpResponse(exposition.text(), CONTENT_TYPE)


urlpatterns = [path("status", InstallationStatus.as_view(), name="status")]
