"""Filters of lists of executions and what belongs to them, and of questions."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from executions.models import CLAIMED
from executions.models.states import State
from tenancy.console.base import sees_many_tenants
from tenancy.console.lists import ScopedFilter, TextFilter

STATE_VARIANTS = {
    State.QUEUED.value: "info",
    CLAIMED: "info",
    State.RUNNING.value: "primary",
    State.WAIT_RETRY.value: "warning",
    State.WAITING_EXTERNAL.value: "info",
    State.SUCCEEDED.value: "success",
    State.FAILED.value: "danger",
    State.DLQ.value: "danger",
    State.CANCELLED.value: "default",
}
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
NEWEST = 500
"""How many of the newest rows provide the suggestions of a text filter."""


def newest_first(request: HttpRequest) -> tuple[str, ...]:
    """Return an ordering that an index provides, so that it is fast for any number of rows.

    The index on the creation time starts with the tenant. A list of several tenants is ordered by id instead, which
    ascends with the creation time.
    """
    everything = sees_many_tenants(request) and not request.GET.get("tenant")
    return ("-id",) if everything else ("-created_at", "-id")


class ReleaseFilter(TextFilter):
    title = "release version"
    parameter_name = "release"
    lookup = "release_version"


class ExecutionsSmokeFilter(ScopedFilter):
    title = "smoke tests"
    parameter_name = "smoke"
    options = (("yes", "Only smoke tests"), ("no", "No smoke tests"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(execution__smoke=self.value() == "yes") if self.value() else queryset


class SinceFilter(ScopedFilter):
    """Filters by age. `lookup` is the path to the time."""

    title = "time"
    parameter_name = "since"
    lookup = "created_at"
    options = (("hour", "Last hour"), ("day", "Last 24 hours"), ("week", "Last 7 days"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = SPANS.get(self.value() or "")
        return queryset.filter(**{f"{self.lookup}__gte": timezone.now() - span}) if span else queryset
