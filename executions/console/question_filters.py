"""The filters of the list of questions."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from executions.awaits import recipients
from executions.awaits.awaits import FIRST_STATUS
from executions.console.filters import NEWEST, SPANS
from executions.models import IS_CLAIMED, Interaction
from executions.search_steps import questions_of_step
from releases.step_names import step_at
from tenancy.access import actor, tenants_of
from tenancy.console.lists import Person, ScopedFilter, TextFilter
from wire.documents.contract import AUTOMATIC


class StatusFilter(ScopedFilter):
    """Filters by status. By default shows questions that can be answered. A search includes every status."""

    title = parameter_name = "status"
    options = (("all", "All"), *((status.value, status.value) for status in Interaction.Status))

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield from ({**first, "display": "Open"}, *others)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        if self.value() == "all" or (request.GET.get(SEARCH_VAR) and not self.value()):
            return queryset
        if self.value():
            return queryset.filter(status=self.value())
        return queryset.filter(status__in=Interaction.OPEN).exclude(transport__in=AUTOMATIC)


class TransportFilter(ScopedFilter):
    title = parameter_name = "transport"
    options = tuple((transport, transport) for transport in FIRST_STATUS)


class DeadlineFilter(ScopedFilter):
    title = parameter_name = "deadline"
    options = (
        ("passed", "Has passed"),
        ("hour", "Within the hour"),
        ("day", "Within a day"),
        ("week", "Within a week"),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        now = timezone.now()
        if self.value() == "passed":
            return queryset.filter(deadline__lte=now)
        span = SPANS.get(self.value() or "")
        return queryset.filter(deadline__gt=now, deadline__lte=now + span) if span else queryset


class _NamedFilter(TextFilter):
    """Filters by the name in `lookup`. Suggests the names of the open questions with the nearest deadlines."""

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        # Ids, not a subquery, so that an index provides the order.
        tenants = list(tenants_of(person).values_list("pk", flat=True))
        rows = Interaction.objects.filter(tenant__in=tenants, status__in=Interaction.OPEN).exclude(
            transport__in=AUTOMATIC
        )
        yield from ((name, name) for name in sorted(filter(None, self.names_in(rows.order_by("deadline")))))

    def names_in(self, rows: QuerySet[Interaction]) -> set[str]:
        return set(rows.values_list(self.lookup, flat=True)[:NEWEST])


class AssigneeFilter(_NamedFilter):
    title = parameter_name = lookup = "assignee"


class GroupFilter(_NamedFilter):
    title = parameter_name = lookup = "group"


class StepFilter(_NamedFilter):
    """Filters by the author's name of a step, or the name of its function."""

    title = parameter_name = "step"

    def names_in(self, rows: QuerySet[Interaction]) -> set[str]:
        places = rows.values_list("execution__release", "execution__contract_version", "step_index")[:NEWEST]
        return {step_at(*place).name for place in set(places)}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        name = self.value()
        if not name:
            return queryset
        tenants = list(tenants_of(request.user).values_list("pk", flat=True))
        return queryset.filter(questions_of_step(tenants, name))


class ClaimFilter(ScopedFilter):
    """Filters by who is working on a question, or should."""

    title = parameter_name = "claim"
    options = (("mine", "Mine"), ("none", "Unclaimed"), ("others", "Claimed by others"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Interaction]) -> QuerySet[Interaction]:
        me = actor(request.user)
        if self.value() == "mine":
            return queryset.filter(recipients.mine(request.user))
        if self.value() == "none":
            return queryset.filter(~IS_CLAIMED)
        return queryset.filter(IS_CLAIMED).exclude(claimed_by=me) if self.value() == "others" else queryset
