"""REST: the status of the installation, as a tenant may see it."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coordinator.models import Process
from coordinator.monitoring.status import Job, Part, Queue, Reported, Status, status
from foundation.errors import QueryTooSlow
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


urlpatterns = [path("status", InstallationStatus.as_view(), name="status")]
