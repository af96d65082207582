"""REST: the tenant's pipelines and their policies, and the member `paused` of all rows with a relation `holds`."""

from typing import Any, ClassVar, TypeVar

from django.db.models import F, FilteredRelation, Model, Q, QuerySet
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Flag, Number, StrictSerializer, WholeNumber
from releases import policy, queries
from releases.errors import PipelineUnknown, PolicyInvalid
from releases.models import Pipeline
from releases.models.pipeline import MEMBERS, Member
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

Row = TypeVar("Row", bound=Model)


class PausedView(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    by = serializers.CharField()
    reason = serializers.CharField()


def with_pauses(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Return the rows with their pauses, so that `paused` needs no query for each. A row has at most one open hold."""
    joined = rows.annotate(open_hold=FilteredRelation("holds", condition=Q(holds__ended_at=None)))
    found: QuerySet[Row] = joined.annotate(
        paused_since=F("open_hold__started_at"),
        paused_by=F("open_hold__started_by"),
        paused_reason=F("open_hold__reason"),
    )
    return found


def pause_of(row: Any) -> dict[str, Any] | None:
    """Return the content of `paused`: the open hold of the row itself; None if it has none."""
    if getattr(row, "held", True) is False:
        return None  # only executions have this column
    if hasattr(row, "paused_since"):
        since, by, reason = row.paused_since, row.paused_by, row.paused_reason
    else:
        columns = row.holds.filter(ended_at=None).values_list("started_at", "started_by", "reason")
        since, by, reason = columns.first() or (None, None, None)
    return dict(PausedView({"since": since, "by": by, "reason": reason}).data) if since else None


class PausableView(serializers.Serializer[Row]):
    paused = serializers.SerializerMethodField(
        help_text="The pause of this object itself. Null if it is not paused, even if its pipeline is."
    )

    @extend_schema_field(PausedView(allow_null=True))
    def get_paused(self, row: Any) -> dict[str, Any] | None:
        return pause_of(row)


def _shown(member: Member) -> serializers.Field[Any, Any, Any, Any]:
    """Return the field of a response that shows a member of the policy."""
    options: dict[str, Any] = {"help_text": member.meaning, "allow_null": bool(member.unset)}
    if member.column != member.name:  # DRF rejects a source that is the name
        options["source"] = member.column
    if member.choices is not None:
        return serializers.ChoiceField(choices=member.choices.choices, **options)
    if member.limits is None:
        return serializers.BooleanField(**options)
    return (serializers.IntegerField if member.is_integer else serializers.FloatField)(**options)


def _requested(member: Member) -> serializers.Field[Any, Any, Any, Any]:
    """Return the field of a request that changes a member of the policy."""
    options: dict[str, Any] = {"required": False, "help_text": member.meaning, "allow_null": bool(member.unset)}
    if member.choices is not None:
        return serializers.ChoiceField(choices=member.choices.choices, **options)
    if member.limits is None:
        return Flag(**options)
    return (WholeNumber if member.is_integer else Number)(limits=member.limits, **options)


class PipelineView(PausableView[Pipeline]):
    pipelineId = serializers.CharField(source="pipeline_id")
    application = serializers.CharField(
        help_text="The application of the framework that deploys the pipeline. Empty if none does."
    )
    activeReleaseVersion = serializers.CharField(
        source="activation.release.release_version", default=None, allow_null=True
    )
    activeContractVersion = serializers.CharField(
        source="activation.release.contract_version", default=None, allow_null=True
    )
    candidateReleaseVersion = serializers.CharField(
        source="activation.candidate.release_version",
        default=None,
        allow_null=True,
        help_text="The candidate of the gradual activation that is running. Null if none is.",
    )
    candidateShare = serializers.FloatField(
        source="activation.share",
        default=None,
        allow_null=True,
        help_text="The share of new executions that the candidate gets, in percent.",
    )
    createdAt = serializers.DateTimeField(source="created_at")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**super().get_fields(), **{member.name: _shown(member) for member in MEMBERS}}


class PolicyRequest(StrictSerializer):
    """Changes to a policy. Omitted members do not change. A number that is null resets to the default."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {member.name: _requested(member) for member in MEMBERS}


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class Pipelines(TenantView, ListAPIView[Pipeline]):
    """The tenant's pipelines, each with its active release."""

    serializer_class = PipelineView
    queryset = Pipeline.objects.none()

    def get_queryset(self) -> Any:
        return with_pauses(
            Pipeline.objects.filter(tenant=self.tenant).select_related("activation__release", "activation__candidate")
        )


@extend_schema(parameters=[TENANT], tags=["pipelines"])
class OnePipeline(TenantView):
    refusals: ClassVar = {"GET": (PipelineUnknown,), "PATCH": (PipelineUnknown, PolicyInvalid)}

    @extend_schema(operation_id="pipeline", responses=PipelineView)
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """One pipeline with its active release."""
        return Response(PipelineView(queries.pipeline(self.tenant, pipeline_id)).data)

    @declares(Act.POLICY_CHANGE, Scope.ADMINISTER)
    @extend_schema(operation_id="changePolicy", request=PolicyRequest, responses=PipelineView)
    def patch(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Change the pipeline's policy. It applies from the next activation, answer, failure and claim on."""
        changes = PolicyRequest.validated(request.data)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        return Response(PipelineView(policy.change(pipeline, changes, actor=self.actor)).data)


urlpatterns = [
    path("pipelines", Pipelines.as_view(), name="pipelines"),
    path("pipelines/<str:pipeline_id>", OnePipeline.as_view(), name="pipeline"),
]
