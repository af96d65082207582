"""REST: lists and finds the executions of a tenant."""

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import EMPTY_VALUES
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions import search_values
from executions.inspection.api import NamedExecutionView
from executions.lifecycle import queries
from executions.models import Execution, read_business_keys
from executions.models.states import State
from executions.search import Search, narrowed, searched
from foundation.api.pagination import FlagFilter, MomentFilter, NewestFirst, describe
from foundation.database.bounded import time_limit
from foundation.errors import QueryTooSlow
from releases.api import with_pauses
from tenancy.api.operations import TENANT, TenantView

HIGHEST_STEP = 10_000


class StepFilter(filters.NumberFilter):
    """A filter by the index of a step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=HIGHEST_STEP, decimal_places=0, **options)
        describe(self, type="integer", minimum=0, maximum=HIGHEST_STEP)


class TagFilter(filters.CharFilter):
    """A filter by one of several texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        describe(self, type="string")


CONDITIONS = {
    "status": "status",
    "pipelineId": "pipeline_id",
    "releaseVersion": "release_version",
    "idempotencyKey": "key",
    "businessKey": "business_key",
    "errorCode": "error_code",
    "submittedBy": "submitted_by",
    "createdFrom": "since",
    "createdTo": "until",
    "finishedFrom": "ended_since",
    "smoke": "smoke",
    "resubmittedFrom": "origin",
    "parentExecutionId": "parent",
    "stepIndex": "step",
    "stepName": "step",
    "tag": "tag",
    "prefix": "text",
    "failureGroupId": "failure_group",
}
"""The field of `Search` of each filter."""


class ExecutionFilter(filters.FilterSet):
    """Reads the filters. The search compares them, so that each can use an index."""

    prefixes = (search_values.PREFIX,)

    status = filters.ChoiceFilter(choices=[(state.value, state.value) for state in State])
    pipelineId = filters.CharFilter(field_name="pipeline_id")
    releaseVersion = filters.CharFilter(field_name="release_version")
    idempotencyKey = filters.CharFilter(field_name="execution_key", help_text="The idempotency key of the submission.")
    businessKey = filters.CharFilter(
        field_name="execution_key", help_text="Finds the execution with this key, and its resubmissions."
    )
    errorCode = filters.CharFilter(field_name="error_code", help_text="The code of the failure.")
    submittedBy = filters.CharFilter(field_name="submitted_by", help_text="Who submitted it, such as `token:shop`.")
    createdFrom = MomentFilter(field_name="created_at", lookup_expr="gte", help_text="Submitted at this time or later.")
    createdTo = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Submitted before this time.")
    finishedFrom = MomentFilter(field_name="finished_at", lookup_expr="gte", help_text="Ended at this time or later.")
    smoke = FlagFilter(help_text="Whether it is a smoke test.")
    resubmittedFrom = filters.UUIDFilter(
        field_name="origin__execution_id", help_text="The id of the execution whose resubmission it is."
    )
    parentExecutionId = filters.UUIDFilter(field_name="parent_id", help_text="Finds the children of this execution.")
    stepIndex = StepFilter(
        field_name="current_step_index",
        help_text="The index of the step at which a live execution is, or at which a failed one failed.",
    )
    stepName = TagFilter(
        field_name="release", help_text="The name of that step, or of its function. It wins over `stepIndex`."
    )
    tag = TagFilter(field_name="tags", help_text="One of the tags.")
    prefix = filters.CharFilter(
        field_name="execution_key", help_text="The beginning of the business key, the idempotency key, or the id."
    )
    failureGroupId = filters.UUIDFilter(
        field_name="dead_letters__group",
        help_text="The id of a failure group that has the newest failure of the execution.",
    )

    def filter_queryset(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        fields = {
            CONDITIONS[name]: value for name, value in self.form.cleaned_data.items() if value not in EMPTY_VALUES
        }
        if "status" in fields:
            fields["status"] = searched(fields["status"])
        if not isinstance(fields.get("step", ""), str):
            fields["step"] = int(fields["step"])
        search = Search(**fields, values=search_values.conditions(self.data) or None)
        return narrowed(queryset, [self.request.parser_context["view"].tenant.pk], search)


class NewestExecutions(NewestFirst):
    ordering = ("-created_at", "-id")


@extend_schema(parameters=[TENANT], tags=["executions"])
class Executions(TenantView, ListAPIView[Execution]):
    """The tenant's executions, newest first.

    Further parameters find executions by the values that their pipelines declare as `search`. `search.NAME` is a value,
    such as `search.customer=c-17`. `search.NAME.from` and `search.NAME.to`, which is exclusive, limit a number or time.
    """

    serializer_class = NamedExecutionView
    filterset_class = ExecutionFilter
    pagination_class = NewestExecutions
    queryset = Execution.objects.none()
    refusals: ClassVar = {"GET": (QueryTooSlow,)}

    def get_queryset(self) -> Any:
        return with_pauses(queries.executions(self.tenant))

    def paginate_queryset(self, queryset: Any) -> Any:
        rows = super().paginate_queryset(queryset)
        read_business_keys(rows or ())
        return rows

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with time_limit(settings.LIST_SECONDS):
            return super().list(request, *args, **kwargs)
