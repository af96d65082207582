"""The list of executions with its filters. `executions.admin.execution_page` has the page of one."""

import uuid
from collections.abc import Iterator

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.paginator import InfinitePaginator

from executions.admin.execution_page import ExecutionPages
from executions.admin.filters import STATE_VARIANTS, PipelineFilter, ReleaseFilter, newest_first
from executions.models import CLAIMED, TERMINAL_VALUES, Execution
from executions.models.states import State
from foundation.admin.columns import badge, column
from foundation.admin.times import timed
from releases.models import Pipeline
from tenancy.access import tenants_of
from tenancy.admin.base import Person, ScopedFilter, TenantFilter

HELD = "held"


class StatusFilter(ScopedFilter):
    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield "live", "All live executions"
        yield HELD, "Running, started or not"
        yield from ((status, status) for status in STATE_VARIANTS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        if self.value() == "live":
            return queryset.exclude(status__in=TERMINAL_VALUES)
        if self.value() == HELD:
            return queryset.filter(status=State.RUNNING)
        if self.value() in (CLAIMED, State.RUNNING):
            return queryset.filter(status=State.RUNNING, running_since__isnull=self.value() == CLAIMED)
        return queryset.filter(status=self.value()) if self.value() else queryset


class SmokeFilter(ScopedFilter):
    title = "smoke tests"
    parameter_name = "smoke"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from (("yes", "Only smoke tests"), ("no", "No smoke tests"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset.filter(smoke=self.value() == "yes") if self.value() else queryset


@admin.register(Execution)
class ExecutionAdmin(ExecutionPages):
    list_display = (
        "short_id",
        "state",
        "smoke_test",
        "pipeline_id",
        "release_version",
        "tenant",
        "attempt",
        "submitted",
        "finished",
    )
    list_select_related = ("tenant",)
    list_filter = (StatusFilter, SmokeFilter, PipelineFilter, ReleaseFilter, TenantFilter)
    search_fields = ("execution_key",)
    search_help_text = "The id or the idempotency key, in full"
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return newest_first(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        rows = super().get_queryset(request).select_related("tenant", "release__pipeline__activation__release")
        return rows.defer("input", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """Search by complete id or complete key: indexes keep this fast for any number of executions."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(term)), False
        except ValueError:
            pass
        owners = list(
            Pipeline.objects.filter(tenant__in=tenants_of(request.user)).values_list("pipeline_id", flat=True)
        )
        return queryset.filter(pipeline_id__in=owners, execution_key=term), False

    @column("Execution")
    def short_id(self, execution: Execution) -> str:
        return str(execution.pk)[:13] + "…"

    @badge("Status", STATE_VARIANTS)
    def state(self, execution: Execution) -> str:
        return execution.shown_status

    @badge("Kind", {"smoke test": "info"}, empty="")
    def smoke_test(self, execution: Execution) -> str | None:
        return "smoke test" if execution.smoke else None

    @column("Submitted")
    def submitted(self, execution: Execution) -> SafeString | None:
        return timed(execution.created_at)

    @column("Finished", empty="-")
    def finished(self, execution: Execution) -> SafeString | None:
        return timed(execution.finished_at)
