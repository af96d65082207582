"""REST: lists the groups of failures of a tenant, and records what people decide about them."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions.errors import AssigneeInvalid, FailureGroupUnknown
from executions.failures import queries
from executions.failures.queries import Figures, change
from executions.models import FailureGroup, is_new
from executions.models.failure_group import LONGEST_ASSIGNEE, LONGEST_NOTE
from foundation.api.fields import Flag, StrictSerializer, Text
from foundation.api.filters import FlagFilter, MomentFilter
from releases.states import Status
from tenancy.api import payloads
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class FailureGroupRequest(StrictSerializer):
    """What is missing stays as it is."""

    acknowledged = Flag(required=False, help_text="`false` withdraws the acknowledgement.")
    assignee = Text(
        max_length=LONGEST_ASSIGNEE,
        required=False,
        allow_blank=True,
        help_text="The user name of a person who may operate in the tenant. Empty for no assignee.",
    )
    note = Text(max_length=LONGEST_NOTE, required=False, allow_blank=True)


class FiguresView(serializers.Serializer[Figures]):
    total = serializers.IntegerField(source="counted", help_text="The number of failures, at most `countedAtMost`.")
    open = serializers.IntegerField(
        source="still_open", help_text="How many of these failures belong to executions that have not run again since."
    )
    countedAtMost = serializers.IntegerField(source="most", help_text="Only the newest failures are counted.")
    more = serializers.BooleanField(help_text="Whether there are more failures than are counted.")
    hourCountedAtMost = serializers.IntegerField(source="most_in_hour", help_text="In each hour, at most these count.")
    lastHour = serializers.IntegerField(source="last_hour")
    lastDay = serializers.IntegerField(source="last_day")
    byHour = serializers.ListField(
        child=serializers.IntegerField(),
        source="trend",
        help_text="The failures in each of the last 24 hours, the last one at the end, at most `hourCountedAtMost`.",
    )


class FailureGroupView(serializers.Serializer[FailureGroup]):
    failureGroupId = serializers.UUIDField(source="id")
    pipelineId = serializers.CharField(source="release.pipeline.pipeline_id")
    contractVersion = serializers.CharField(source="release.contract_version")
    releaseVersion = serializers.CharField(source="release.release_version")
    releaseStatus = serializers.ChoiceField(choices=[status.value for status in Status], source="release.status")
    stepIndex = serializers.IntegerField(source="step_index", help_text="The step that failed.")
    stepName = serializers.CharField(source="step_name", allow_null=True)
    errorCode = serializers.CharField(source="error_code")
    sampleMessage = serializers.CharField(source="sample_message", allow_null=True, help_text=payloads.HELP)
    firstSeenAt = serializers.DateTimeField(source="first_seen_at")
    lastSeenAt = serializers.DateTimeField(source="last_seen_at", help_text="Exact to a minute.")
    new = serializers.SerializerMethodField(
        help_text="Whether it has failed since it was acknowledged, or was never acknowledged."
    )
    acknowledgedBy = serializers.CharField(source="acknowledged_by", help_text="Empty if it is not acknowledged.")
    acknowledgedAt = serializers.DateTimeField(source="acknowledged_at", allow_null=True)
    assignee = serializers.CharField()
    note = serializers.CharField()
    failures = serializers.SerializerMethodField()

    def to_representation(self, instance: FailureGroup) -> dict[str, Any]:
        shown = super().to_representation(instance)
        payloads.withhold(["sampleMessage"], shown, self.context)
        return shown

    def get_new(self, group: FailureGroup) -> bool:
        return group.is_new_by(self._figures(group).newest_at)

    @extend_schema_field(FiguresView)
    def get_failures(self, group: FailureGroup) -> dict[str, Any]:
        return dict(FiguresView(self._figures(group)).data)

    def _figures(self, group: FailureGroup) -> Figures:
        figures: dict[uuid.UUID, Figures] = self.context["figures"]
        return figures[group.pk]


class FailureGroupFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="release__pipeline__pipeline_id")
    releaseVersion = filters.CharFilter(field_name="release__release_version")
    errorCode = filters.CharFilter(field_name="error_code")
    assignee = filters.CharFilter(field_name="assignee")
    new = FlagFilter(method="by_state")
    since = MomentFilter(field_name="last_seen_at", lookup_expr="gte", label="Groups that have failed since this time.")

    def by_state(self, queryset: Any, name: str, value: bool) -> Any:
        return queryset.filter(is_new()) if value else queryset.exclude(is_new())


@extend_schema(parameters=[TENANT], tags=["executions"])
class FailureGroups(TenantView, ListAPIView[FailureGroup]):
    """The groups of failures with the same release, step and cause. The group that failed last comes first."""

    serializer_class = FailureGroupView
    filterset_class = FailureGroupFilter
    ordering = ("-last_seen_at", "-id")
    queryset = FailureGroup.objects.none()

    def get_queryset(self) -> Any:
        return queries.groups_of(self.tenant)

    def paginate_queryset(self, queryset: Any) -> Any:
        page: Any = super().paginate_queryset(queryset)
        self._figures = queries.figures([group.pk for group in page])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "figures": getattr(self, "_figures", {})}


@extend_schema(parameters=[TENANT], tags=["executions"])
class OneFailureGroup(TenantView):
    refusals: ClassVar = {"GET": (FailureGroupUnknown,), "PATCH": (FailureGroupUnknown, AssigneeInvalid)}

    @extend_schema(operation_id="failureGroup", responses=FailureGroupView)
    def get(self, request: Request, tenant: str, failure_group_id: uuid.UUID) -> Response:
        """One group with its numbers."""
        return _response(request, queries.group(self.tenant, failure_group_id))

    @declares(Act.FAILURE_GROUP_CHANGE, Scope.OPERATE)
    @extend_schema(operation_id="changeFailureGroup", request=FailureGroupRequest, responses=FailureGroupView)
    def patch(self, request: Request, tenant: str, failure_group_id: uuid.UUID) -> Response:
        """Acknowledge, assign or annotate a group. A group that fails after its acknowledgement is new again."""
        body = FailureGroupRequest.validated(request.data)
        return _response(request, change(self.tenant, failure_group_id, actor=self.actor, **body))


def _response(request: Request, group: FailureGroup) -> Response:
    context = {"request": request, "figures": {group.pk: queries.figures_of(group)}}
    return Response(FailureGroupView(group, context=context).data)


urlpatterns = [
    path("failure-groups", FailureGroups.as_view(), name="failure-groups"),
    path("failure-groups/<uuid:failure_group_id>", OneFailureGroup.as_view(), name="failure-group"),
]
