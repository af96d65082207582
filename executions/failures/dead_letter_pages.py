"""All failures: the list of dead letters, and the page of one with everything that triage needs."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from executions.console import filters
from executions.console.execution_search import RowsOfExecutions
from executions.console.filters import (
    NEWEST,
    STATE_VARIANTS,
    ExecutionsSmokeFilter,
    SinceFilter,
    newest_first,
)
from executions.failures import queries
from executions.failures.queries import REASONS, letters_on
from executions.lifecycle import replacements
from executions.lifecycle.interventions import redrivable
from executions.lifecycle.queries import submitter_of, traceback_of
from executions.models import PAYLOADS_OF_EXECUTION, DeadLetter, FailureGroup
from executions.models.states import State
from foundation.admin.columns import badge, class_name, column, cut
from releases.models import Release
from releases.registration import pages as registration
from releases.step_names import Step
from tenancy.access import tenants_of
from tenancy.console.base import LongList
from tenancy.console.lists import Person, ScopedFilter, TenantFilter, TextFilter, text, time
from tenancy.roles import Scope

OPEN = "open"
OTHERS_SHOWN = 20


class ErrorCodeFilter(TextFilter):
    """Filters by error code. Suggests the codes of the groups that failed last."""

    title = "error code"
    parameter_name = "error"
    lookup = "error_code"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        newest = FailureGroup.objects.filter(tenant__in=tenants_of(person)).order_by("-last_seen_at", "-id")
        codes = set(newest.values_list("error_code", flat=True)[:NEWEST])
        yield from ((code, code) for code in sorted(codes))


class ReasonFilter(ScopedFilter):
    title = parameter_name = "reason"
    options = tuple(REASONS.items())


class ExecutionStatusFilter(ScopedFilter):
    """Filters by the current status of the execution.

    OPEN selects the failures that ended an execution which has not run since, without smoke tests. With the filter by
    time it selects one failure for each execution that is counted as failed.
    """

    title = "the execution's status"
    parameter_name = "now"

    lookup = "execution__status"
    options = ((OPEN, "Still failed"), *((state.value, state.value) for state in State))

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        if self.value() == OPEN:
            dead = queryset.filter(execution__status__in=[State.FAILED, State.DLQ], group__isnull=False)
            return dead.filter(execution_version=F("execution__version"))
        return super().queryset(request, queryset)


class GroupFilter(TextFilter):
    """Filters by the id of a failure group."""

    title = "failure group"
    parameter_name = "group"
    lookup = "group"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            return queryset.filter(group=uuid.UUID(self.value())) if self.value() else queryset
        except ValueError:
            return queryset.none()


class PipelineFilter(registration.PipelineFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return letters_on(queryset, pipeline__pipeline_id=name) if name else queryset


class ReleaseFilter(filters.ReleaseFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        version = self.value()
        return letters_on(queryset, release_version=version) if version else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(LongList):
    empty = "Executions that failed are listed here, once for each failure. They can be re-driven and resubmitted."
    list_display = ("failed", "key", "pipeline", "release", "tenant", "error_code", "why", "step", "current_status")
    list_filter = (
        SinceFilter,
        ReasonFilter,
        ErrorCodeFilter,
        PipelineFilter,
        ReleaseFilter,
        ExecutionStatusFilter,
        GroupFilter,
        TenantFilter,
        ExecutionsSmokeFilter,
    )
    search_fields = ("execution__id",)
    search_help_text = "Full id of the execution"

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return newest_first(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RowsOfExecutions]:
        return RowsOfExecutions

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        rows = super().get_queryset(request).select_related("tenant", "execution__tenant")
        return rows.defer(*PAYLOADS_OF_EXECUTION)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(execution=uuid.UUID(term)), False
        except ValueError:
            return queryset.none(), False

    failed = time("Failed", "created_at")
    pipeline = text("Pipeline", "execution.pipeline_id")
    release = text("Release", "execution.release_version")

    @column("Error code")
    def error_code(self, letter: DeadLetter) -> SafeString:
        return class_name(letter.error_code)

    @column("Key of the execution")
    def key(self, letter: DeadLetter) -> SafeString:
        return cut(letter.execution.business_key)

    @column("Reason")
    def why(self, letter: DeadLetter) -> str:
        return REASONS[letter.reason]

    @column("Step")
    def step(self, letter: DeadLetter) -> Step:
        return letter.step

    @badge("Now", STATE_VARIANTS)
    def current_status(self, letter: DeadLetter) -> str:
        return letter.execution.shown_status

    def show(self, request: HttpRequest, row: DeadLetter) -> HttpResponse:
        execution, may_read = row.execution, self.has_scope(request, Scope.PAYLOADS, row)
        # Its documents may be large. Most failures are not replaced, so the same statement says which are.
        releases = Release.objects.annotate(replaced_by=replacements.replacement_id(Value(execution.pk))).only(
            "pipeline"
        )
        execution.release = release = releases.get(pk=execution.release_id)
        can_redrive = State(execution.status) in redrivable(allow_failed=True)
        others = DeadLetter.objects.filter(execution=execution).exclude(pk=row.pk)
        more: dict[str, Any] = {
            "title": f"{row.error_code} in {execution.pipeline_id}",
            "original": row,
            "variant": STATE_VARIANTS[row.terminal_status],
            "current_variant": STATE_VARIANTS[execution.shown_status],
            "changed_since": execution.version != row.execution_version,
            "may_read": may_read,
            "traceback": traceback_of(row) if may_read else "",
            "step": row.step,
            "submitter": submitter_of(execution).who,
            "reason": self.why(row),
            "failed_attempts": queries.failed_attempts_until(row),
            "others": [
                (other, REASONS[other.reason], execution.step_at(other.failed_step_index))
                for other in others.order_by("-created_at", "-id")[:OTHERS_SHOWN]
            ],
            "may_operate": self.has_scope(request, Scope.OPERATE, row),
            "redrivable": can_redrive,
            "replacement": replacements.replacement(execution.pk) if can_redrive and release.replaced_by else None,
        }
        return self.page(request, "executions/dead_letter.html", letter=row, execution=execution, **more)
