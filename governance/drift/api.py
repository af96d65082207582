"""REST: where reality differs from what was registered and activated."""

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from governance.drift.drift import Drift, Fact, Kind, Subject, drift
from releases import queries
from releases.errors import PipelineUnknown
from tenancy.api.tenant_view import TENANT, TenantView


class FactView(serializers.Serializer[Fact]):
    name = serializers.CharField()
    value = serializers.CharField(help_text="Empty if it is not known.")


class DriftView(serializers.Serializer[Drift]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    pipelineId = serializers.CharField(source="pipeline_id")
    releaseVersion = serializers.CharField(source="release_version")
    subject = serializers.ChoiceField(choices=[subject.value for subject in Subject])
    name = serializers.CharField(
        help_text="The id of the worker, of the artifact or of the pipeline, or the version of the release."
    )
    evidence = FactView(many=True)
    since = serializers.DateTimeField(allow_null=True, help_text="Null if nothing says when it began.")
    remedy = serializers.CharField(help_text="What to do.")


class DriftList(serializers.Serializer[Any]):
    items = DriftView(many=True)


@extend_schema(parameters=[TENANT], tags=["activations"])
class TenantDrift(TenantView):
    @extend_schema(operation_id="drift", responses=DriftList)
    def get(self, request: Request, tenant: str) -> Response:
        """Where workers, environments, stored bytes and submissions differ from the releases of the tenant."""
        return Response(DriftList({"items": drift(self.tenant)}).data)


@extend_schema(parameters=[TENANT], tags=["activations"])
class PipelineDrift(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown,)}

    @extend_schema(operation_id="pipelineDrift", responses=DriftList)
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Where workers, environments, stored bytes and submissions differ from the releases of a pipeline."""
        return Response(DriftList({"items": drift(self.tenant, queries.pipeline(self.tenant, pipeline_id))}).data)


urlpatterns = [
    path("drift", TenantDrift.as_view(), name="drift"),
    path("pipelines/<str:pipeline_id>/drift", PipelineDrift.as_view(), name="pipeline-drift"),
]
