"""REST: what changes from one release of a pipeline to another one."""

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.errors import InvalidRequest
from governance.comparison import comparison
from releases import queries
from releases.errors import ActiveReleaseRevoked, NoActiveRelease, PipelineUnknown, ReleaseUnknown
from releases.models import Pipeline, Release
from tenancy.api.tenant_view import TENANT, TenantView
from wire.comparison.differences import MAX_DIFFERENCES, Area, Difference, Impact, Kind
from wire.identifying import is_segment

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


@extend_schema(parameters=[TENANT], tags=["releases"])
class Comparison(TenantView):
    refusals: ClassVar = {
        "GET": (InvalidRequest, PipelineUnknown, ReleaseUnknown, NoActiveRelease, ActiveReleaseRevoked)
    }

    @extend_schema(
        operation_id="comparison",
        responses=ComparisonView,
        parameters=[
            OpenApiParameter("from", VERSION, description="By default the version of the active release."),
            OpenApiParameter("to", VERSION, description="By default that of the registered release uploaded last."),
        ],
    )
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """What changes for callers and for parked work from one release to another one."""
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        versions = _versions(request)
        after = _release(pipeline, versions["to"]) or comparison.newest_release(pipeline)
        before = _release(pipeline, versions["from"]) or queries.active_release(pipeline)
        found = comparison.differences(before, after)
        breaking = any(each.is_breaking for each in found)
        shown = {"before": before, "after": after, "breaking": breaking, "differences": found}
        return Response(ComparisonView(shown).data)


def _release(pipeline: Pipeline, version: str | None) -> Release | None:
    return None if version is None else queries.release(pipeline, version)


def _versions(request: Request) -> dict[str, str | None]:
    """Return the parameters; None for one that is absent. Raises DRF's `ValidationError` for others and empty ones."""
    errors = {
        name: ErrorDetail("is not a known parameter", code="unknown_parameter")
        for name in sorted(request.query_params.keys() - set(NAMES))
    }
    values = {name: request.query_params.get(name) for name in NAMES}
    errors |= {name: ErrorDetail("must not be empty", code="blank") for name in NAMES if values[name] == ""}
    if errors:
        raise ValidationError(errors)
    # No release has such a version, and PostgreSQL does not accept U+0000.
    malformed = next((value for value in values.values() if value is not None and not is_segment(value)), None)
    if malformed is not None:
        raise ReleaseUnknown(f"There is no release {malformed!r}.")
    return values


urlpatterns = [path("pipelines/<str:pipeline_id>/comparison", Comparison.as_view(), name="comparison")]
