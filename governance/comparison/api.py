"""REST: what changes from one release of a pipeline to another one."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from foundation.api.filters import require_known
from foundation.errors import InvalidRequest
from governance.comparison import comparison
from releases import queries
from releases.errors import ActiveReleaseRevoked, NoActiveRelease, PipelineUnknown, ReleaseUnknown
from releases.models import Pipeline, Release
from tenancy.api.operations import operation, refuses
from tenancy.api.tenant_view import TenantView
from wire.comparison.differences import MAX_DIFFERENCES, Area, Difference, Impact, Kind
from wire.identity import is_segment

NAMES = ("from", "to")
VERSION = {"type": "string", "minLength": 1}


class DifferenceView(serializers.Serializer[Difference]):
    area = serializers.ChoiceField(choices=[area.value for area in Area])
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    impact = serializers.ChoiceField(choices=[impact.value for impact in Impact])
    path = serializers.CharField(help_text='Where it is, such as `steps["Validate"].input.lines[].price`.')
    before = serializers.CharField(help_text="Empty if there is no value.")
    after = serializers.CharField(help_text="Empty if there is no value.")
    reason = serializers.CharField(help_text="One sentence that explains the impact.")


class ComparisonView(serializers.Serializer[Any]):
    fromReleaseVersion = serializers.CharField(source="before.release_version")
    fromContractVersion = serializers.CharField(source="before.contract_version")
    toReleaseVersion = serializers.CharField(source="after.release_version")
    toContractVersion = serializers.CharField(source="after.contract_version")
    breaking = serializers.BooleanField(help_text="Whether a difference is breaking, for callers or for parked work.")
    differences = DifferenceView(
        many=True, help_text=f"Most harmful first. At most {MAX_DIFFERENCES}, and one that says that there are more."
    )


@operation("releases", "comparison", ComparisonView, method="GET")
@extend_schema(
    parameters=[
        OpenApiParameter("from", VERSION, description="By default the version of the active release."),
        OpenApiParameter("to", VERSION, description="By default that of the registered release uploaded last."),
    ]
)
@refuses(InvalidRequest, PipelineUnknown, ReleaseUnknown, NoActiveRelease, ActiveReleaseRevoked)
def compare(view: TenantView, pipeline_id: str) -> Any:
    """What changes for callers and for parked work from one release to another one."""
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    require_known(view.request, NAMES)
    versions = view.request.query_params
    after = _release(pipeline, versions.get("to")) or comparison.newest_release(pipeline)
    before = _release(pipeline, versions.get("from")) or queries.active_release(pipeline)
    found = comparison.differences(before, after)
    breaking = any(each.is_breaking for each in found)
    return {"before": before, "after": after, "breaking": breaking, "differences": found}


def _release(pipeline: Pipeline, version: str | None) -> Release | None:
    if version is None:
        return None
    # No release has such a version, and PostgreSQL does not accept U+0000.
    if not is_segment(version):
        raise ReleaseUnknown(f"There is no release {version!r}.")
    return queries.release(pipeline, version)


urlpatterns = [path("pipelines/<str:pipeline_id>/comparison", compare, name="comparison")]
