"""REST: lists the groups of failures of a tenant, and records what people decide about them."""

import uuid
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions.errors import AssigneeInvalid, FailureGroupUnknown
from executions.failures import queries
from executions.failures.queries import Figures, change
from executions.models import FailureGroup, is_new
from executions.models.records import LONGEST_ASSIGNEE, LONGEST_NOTE
from foundation.api.fields import Flag, StrictSerializer, Text
from foundation.api.pagination import FlagFilter, MomentFilter
from releases.states import Status
from tenancy.api.authentication import WITHHELD, withhold
from tenancy.api.operations import TenantView, either, listing, operation, refuses
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
    note = Text(max_length=LONGEST_NOTE, required=False, allow_blank=True, help_text="For people.")


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
    stepName = serializers.CharField(source="step.name", help_text="Empty if the contract does not name it.")
    errorCode = serializers.CharField(source="error_code")
    sampleMessage = serializers.CharField(source="sample_message", allow_null=True, help_text=WITHHELD)
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
        withhold(["sampleMessage"], shown, self.context)
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
    errorCode = filters.CharFilter(field_name="error_code", help_text="The code of the failure.")
    assignee = filters.CharFilter(field_name="assignee", help_text="The user name of the assignee.")
    new = FlagFilter(
        method="by_state", help_text="Whether it has failed since it was acknowledged, or was never acknowledged."
    )
    since = MomentFilter(field_name="last_seen_at", lookup_expr="gte", label="Groups that have failed since this time.")

    def by_state(self, queryset: Any, name: str, value: bool) -> Any:
        return queryset.filter(is_new()) if value else queryset.exclude(is_new())


def _figures(groups: list[FailureGroup]) -> dict[str, Any]:
    return {"figures": queries.figures([group.pk for group in groups])}


def _figures_of(group: FailureGroup) -> dict[str, Any]:
    return {"figures": {group.pk: queries.figures_of(group)}}


@listing(
    "executions",
    FailureGroup,
    FailureGroupView,
    FailureGroupFilter,
    ordering=("-last_seen_at", "-id"),
    context=_figures,
)
def failure_groups(view: TenantView) -> Any:
    """The groups of failures with the same release, step and cause. The group that failed last comes first."""
    return queries.groups_of(view.tenant)


@operation("executions", "failureGroup", FailureGroupView, method="GET", context=_figures_of)
@refuses(FailureGroupUnknown)
def one_failure_group(view: TenantView, failure_group_id: uuid.UUID) -> Any:
    """One group with its numbers."""
    return queries.group(view.tenant, failure_group_id)


@operation(
    "executions",
    "changeFailureGroup",
    FailureGroupView,
    method="PATCH",
    body=FailureGroupRequest,
    context=_figures_of,
)
@declares(Act.FAILURE_GROUP_CHANGE, Scope.OPERATE)
@refuses(FailureGroupUnknown, AssigneeInvalid)
def change_failure_group(view: TenantView, failure_group_id: uuid.UUID, **body: Any) -> Any:
    """Acknowledge, assign or annotate a group. A group that fails after its acknowledgement is new again."""
    return change(view.tenant, failure_group_id, actor=view.actor, **body)


urlpatterns = [
    path("failure-groups", failure_groups, name="failure-groups"),
    path(
        "failure-groups/<uuid:failure_group_id>", either(one_failure_group, change_failure_group), name="failure-group"
    ),
]
