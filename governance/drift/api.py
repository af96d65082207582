"""REST: where reality differs from what was registered and activated."""

from typing import Any

from django.urls import path
from rest_framework import serializers

from governance.drift.drift import Drift, Fact, Kind, Subject, drift
from releases import queries
from releases.errors import PipelineUnknown
from tenancy.api.operations import TenantView, operation, refuses


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


@operation("activations", "drift", DriftList, method="GET")
def tenant_drift(view: TenantView) -> Any:
    """Where workers, environments, stored bytes and submissions differ from the releases of the tenant."""
    return {"items": drift(view.tenant)}


@operation("activations", "pipelineDrift", DriftList, method="GET")
@refuses(PipelineUnknown)
def pipeline_drift(view: TenantView, pipeline_id: str) -> Any:
    """Where workers, environments, stored bytes and submissions differ from the releases of a pipeline."""
    return {"items": drift(view.tenant, queries.pipeline(view.tenant, pipeline_id))}


urlpatterns = [
    path("drift", tenant_drift, name="drift"),
    path("pipelines/<str:pipeline_id>/drift", pipeline_drift, name="pipeline-drift"),
]
