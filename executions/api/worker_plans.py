"""REST: which releases need transition workers, and how many."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions.inspection.worker_plan import PlannedRelease, Reason, worker_plan
from tenancy.api.tenant_view import TENANT, TenantView


class PlannedReleaseView(serializers.Serializer[PlannedRelease]):
    pipelineId = serializers.CharField(source="pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    artifactDigest = serializers.CharField(
        source="artifact_digest", help_text="The digest of the artifact that its workers host. Empty if it has none."
    )
    image = serializers.CharField(
        help_text="The reference of the image from which to start its workers. Empty if it is no image."
    )
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=[reason.value for reason in Reason]),
        help_text="Why it needs workers. `pinned`: it was replaced just now, and callers that name it still get it.",
    )
    workers = serializers.IntegerField(help_text="How many workers it should have.")
    liveWorkers = serializers.IntegerField(source="load.live", help_text="How many workers may run it now.")
    dueExecutions = serializers.IntegerField(source="load.due", help_text="10,000 at most.")
    queueAgeSeconds = serializers.FloatField(source="load.age", help_text="The age of its oldest due execution.")
    mayGo = serializers.BooleanField(source="may_go", help_text="Whether its workers may be stopped.")


class WorkerPlan(serializers.Serializer[Any]):
    items = PlannedReleaseView(many=True)


@extend_schema(parameters=[TENANT], tags=["workers"])
class TenantWorkerPlan(TenantView):
    @extend_schema(operation_id="workerPlan", responses=WorkerPlan)
    def get(self, request: Request, tenant: str) -> Response:
        """The releases of the tenant that need transition workers or have some: why, how many, and which may go."""
        return Response(WorkerPlan({"items": worker_plan(self.tenant)}).data)


urlpatterns = [path("worker-plan", TenantWorkerPlan.as_view(), name="worker-plan")]
