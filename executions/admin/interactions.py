"""Questions: the list of open interactions, the page of one, and the form that answers it."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.timesince import timeuntil
from unfold.paginator import InfinitePaginator

from executions.admin.documents import bounded_json, typed_value
from executions.admin.filters import NEWEST, ExecutionsPipelineFilter
from executions.admin.payloads import readers
from executions.awaits import interactions
from executions.awaits.awaits import TIMER
from executions.awaits.opening import FIRST_STATUS
from executions.models import Interaction
from foundation.admin.columns import badge, column, moment
from foundation.errors import CoordinatorError
from tenancy.access import actor, tenants_of
from tenancy.admin.base import Person, ReadOnlyAdmin, ScopedFilter, TenantFilter, TextFilter, problem_of
from tenancy.roles import Scope

Status = Interaction.Status
VARIANTS = {
    Status.WAITING.value: "warning",
    Status.DISPATCHING.value: "info",
    Status.DISPATCHED.value: "warning",
    Status.COMPLETED.value: "success",
    Status.FAILED.value: "danger",
    Status.TIMED_OUT.value: "danger",
    Status.CANCELLED.value: "default",
}


class StatusFilter(ScopedFilter):
    """Filters by status. By default shows questions that can be answered. A search includes every status."""

    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield "all", "All"
        yield from ((status.value, status.value) for status in Status)

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield from ({**first, "display": "Waiting for answers"}, *others)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        if self.value() == "all" or (request.GET.get(SEARCH_VAR) and not self.value()):
            return queryset
        if self.value():
            return queryset.filter(status=self.value())
        return queryset.filter(status__in=Interaction.OPEN).exclude(transport=TIMER)


class TransportFilter(ScopedFilter):
    title = "transport"
    parameter_name = "transport"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((transport, transport) for transport in FIRST_STATUS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        return queryset.filter(transport=self.value()) if self.value() else queryset


class DeadlineFilter(ScopedFilter):
    title = "deadline"
    parameter_name = "deadline"
    spans = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from (("passed", "Has passed"), ("hour", "Within the hour"), ("day", "Within a day"))
        yield "week", "Within a week"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        now = timezone.now()
        if self.value() == "passed":
            return queryset.filter(deadline__lte=now)
        span = self.spans.get(self.value() or "")
        return queryset.filter(deadline__gt=now, deadline__lte=now + span) if span else queryset


class _NamedFilter(TextFilter):
    """Filters by the name in `lookup`. Suggests the names of the open interactions with the nearest deadlines."""

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        rows = Interaction.objects.filter(tenant__in=tenants_of(person), status__in=Interaction.OPEN)
        names = set(rows.order_by("deadline").values_list(self.lookup, flat=True)[:NEWEST])
        yield from ((name, name) for name in sorted(name for name in names if name))


class AssigneeFilter(_NamedFilter):
    title = parameter_name = lookup = "assignee"


class GroupFilter(_NamedFilter):
    title = parameter_name = lookup = "group"


@admin.register(Interaction)
class InteractionAdmin(ReadOnlyAdmin):
    list_display = ("question", "pipeline", "tenant", "assignee", "group", "transport", "state", "due")
    list_filter = (
        StatusFilter,
        ExecutionsPipelineFilter,
        AssigneeFilter,
        GroupFilter,
        TransportFilter,
        DeadlineFilter,
        TenantFilter,
    )
    search_fields = ("execution__id",)
    search_help_text = "The id of the question or of its execution, or the correlation id, in full"
    ordering = ("deadline", "created_at", "id")
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Interaction]:
        rows = super().get_queryset(request).select_related("tenant", "execution")
        payloads = ("execution__input", "execution__result", "execution__progress", "request", "response")
        return rows.defer(*payloads)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Interaction], search_term: str
    ) -> tuple[QuerySet[Interaction], bool]:
        """Search by complete ids, which have indexes."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            searched = uuid.UUID(term)
        except ValueError:
            return queryset.filter(correlation_id=term), False
        named = Q(pk=searched) | Q(execution=searched) | Q(correlation_id=str(searched))
        return queryset.filter(named), False

    @column("Question")
    def question(self, interaction: Interaction) -> str:
        return (
            interaction.step_id
            if interaction.item_index is None
            else f"{interaction.step_id} #{interaction.item_index}"
        )

    @column("Pipeline")
    def pipeline(self, interaction: Interaction) -> str:
        return interaction.execution.pipeline_id

    @badge("Status", VARIANTS)
    def state(self, interaction: Interaction) -> str:
        return interaction.status

    @column("Deadline")
    def due(self, interaction: Interaction) -> str:
        return moment(interaction.deadline) + left(interaction)

    def own_urls(self) -> list[URLPattern]:
        return [self.own("<uuid:object_id>/answer/", "answer", self.answer)]

    def show(self, request: HttpRequest, row: Interaction) -> HttpResponse:
        return self._shown(request, row)

    def answer(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Submit the typed answer. A rejected answer stays in the form."""
        row = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ANSWER, row):
            raise PermissionDenied
        if request.method != "POST":
            return redirect("admin:executions_interaction_change", row.pk)
        draft = request.POST.get("response", "")
        try:
            response = typed_value(draft, field="response")
            completion = interactions.complete(
                row.tenant, interaction_id=row.pk, response=response, actor=actor(request.user)
            )
        except CoordinatorError as error:
            return self._shown(request, self.row_or_404(request, object_id), draft=draft, error=error)
        if completion.duplicate:
            first = completion.interaction
            messages.warning(
                request, f"{first.actor} answered first, at {moment(first.completed_at)}. That answer counts."
            )
        else:
            messages.success(
                request, "Your answer was accepted. The execution continues when all its questions are answered."
            )
        return redirect("admin:executions_interaction_change", row.pk)

    def _shown(
        self, request: HttpRequest, row: Interaction, *, draft: str = "", error: CoordinatorError | None = None
    ) -> HttpResponse:
        found = interactions.interaction(row.tenant, row.pk)
        waits = found.status in Interaction.OPEN
        may_answer = self.may(request, Scope.ANSWER, found)
        may_read = may_answer or self.may(request, Scope.PAYLOADS, found)
        return self.page(
            request,
            "executions/interaction.html",
            status=error.status if error else 200,
            title=f"{found.step_id} of {found.execution.pipeline_id}",
            original=found,
            interaction=found,
            execution=found.execution,
            variant=VARIANTS[found.status],
            waits=waits,
            left=left(found),
            answerable=waits and found.transport != TIMER,
            may_answer=may_answer,
            many=found.unit.gives_many and not found.unit.itemized,
            items=found.unit.expected_items,
            may_read=may_read,
            readers=readers(),
            question=bounded_json(found.request) if may_read else None,
            answered=bounded_json(found.response) if may_read and found.status == Status.COMPLETED else None,
            expected=_definition(found),
            draft=draft,
            problem=problem_of(error) if error else None,
        )


def left(interaction: Interaction) -> str:
    """Return the time until the deadline in words, that it has passed, or "" if the interaction is closed."""
    if interaction.status not in Interaction.OPEN:
        return ""
    now = timezone.now()
    return f" (in {timeuntil(interaction.deadline, now)})" if interaction.deadline > now else " (has passed)"


def _definition(of: Interaction) -> dict[str, Any] | None:
    """Return the contract's definition of the answer's type, or None if it has none."""
    contract = of.execution.release.contract
    types = contract.document.get("canonicalTypes") if contract else None
    entry = types.get(of.output_type) if isinstance(types, dict) else None
    definition = entry.get("definition") if isinstance(entry, dict) else None
    return bounded_json(definition) if definition else None
