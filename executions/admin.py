"""The operator's pages: executions with their pins and histories, and the workers that run them."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from unfold.paginator import InfinitePaginator

from coordinator.admin_base import Person, ReadOnlyAdmin, ScopedFilter, TenantFilter
from coordinator.admin_columns import badge, column, moment, precise
from coordinator.tenancy.access import tenants_of
from executions import queries
from executions.hosting import Hosting, hosting
from executions.models import DUE_VALUES, TERMINAL_VALUES, Execution, Worker
from executions.states import State
from executions.worker_registry import workers_of
from releases.models import Pipeline

STATE_VARIANTS = {
    State.QUEUED.value: "info",
    State.RUNNING.value: "primary",
    State.WAIT_RETRY.value: "warning",
    State.WAITING_EXTERNAL.value: "info",
    State.SUCCEEDED.value: "success",
    State.FAILED.value: "danger",
    State.DLQ.value: "danger",
    State.CANCELLED.value: "default",
}
WORKER_VARIANTS = {"HEALTHY": "success", "DRAINING": "warning", "STALE": "danger", "UNAVAILABLE": "default"}
JSON_SHOWN = 20_000
EVENT_DATA_SHOWN = 500
EVENTS_SHOWN = 200
PIPELINES_SHOWN = 100


class StatusFilter(ScopedFilter):
    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield "live", "All that are live"
        yield from ((state.value, state.value) for state in State)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        if self.value() == "live":
            return queryset.exclude(status__in=TERMINAL_VALUES)
        return queryset.filter(status=self.value()) if self.value() else queryset


class PipelineFilter(ScopedFilter):
    title = "pipeline"
    parameter_name = "pipeline"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        rows = Pipeline.objects.filter(tenant__in=tenants_of(person)).order_by("pipeline_id")
        names = rows.values_list("pipeline_id", flat=True).distinct()
        yield from ((name, name) for name in names[:PIPELINES_SHOWN])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pipeline_id=self.value()) if self.value() else queryset


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = ("short_id", "state", "pipeline_id", "release_version", "tenant", "attempt", "submitted", "finished")
    list_select_related = ("tenant",)
    list_filter = (StatusFilter, PipelineFilter, TenantFilter)
    search_fields = ("execution_key",)
    search_help_text = "The id or the idempotency key, in full"
    ordering = ("-created_at", "-id")
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        rows = super().get_queryset(request).select_related("tenant", "release__pipeline__activation__release")
        return rows.defer("input", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """By whole id or whole key, which indexes answer however many executions there are."""
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
        return queryset.filter(pipeline_id__in=owners, execution_key=term.replace("\0", "")), False

    @column("Execution")
    def short_id(self, execution: Execution) -> str:
        return str(execution.pk)[:13] + "…"

    @badge("Status", STATE_VARIANTS)
    def state(self, execution: Execution) -> str:
        return execution.status

    @column("Submitted")
    def submitted(self, execution: Execution) -> str:
        return moment(execution.created_at)

    @column("Finished", empty="-")
    def finished(self, execution: Execution) -> str | None:
        return moment(execution.finished_at) or None

    def own_urls(self) -> list[URLPattern]:
        return [self.fragment("<uuid:object_id>/live/", "live", self.live)]

    def show(self, request: HttpRequest, row: Execution) -> HttpResponse:
        return self.page(request, "executions/execution.html", title=str(row), original=row, **_shown(row))

    def live(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """The live part of the page; 204 while it is what the page already shows."""
        execution = self.row_or_404(request, object_id)
        if request.GET.get("shown") == _mark(execution):
            return HttpResponse(status=204)
        return self.page(request, "executions/execution_live.html", **_shown(execution))


def _is_stranded(execution: Execution) -> bool:
    """Whether it is due and no healthy worker hosts the release that it is pinned to."""
    if execution.status not in DUE_VALUES:
        return False
    return not any(host.counts for host in hosting(workers_of(execution.release)))


def _mark(execution: Execution) -> str:
    """Changes whenever the page would."""
    lease = int(execution.lease_expires_at.timestamp()) if execution.lease_expires_at else 0
    return f"{execution.event_count}.{lease}.{int(_is_stranded(execution))}"


def _shown(execution: Execution) -> dict[str, Any]:
    events = list(execution.events.order_by("-sequence")[: EVENTS_SHOWN + 1])
    activation = execution.release.pipeline.activation
    return {
        "execution": execution,
        "variant": STATE_VARIANTS[execution.status],
        "over": execution.status in TERMINAL_VALUES,
        "mark": _mark(execution),
        "waits": execution.status in DUE_VALUES,
        "stranded": _is_stranded(execution),
        "active": activation.release if activation else None,
        "seconds": _seconds(execution),
        "input": bounded_json(execution.input),
        "result": bounded_json(queries.result(execution)) if execution.status == State.SUCCEEDED else None,
        "events": [
            {
                "event": event,
                "at": precise(event.at),
                "variant": STATE_VARIANTS.get(event.status, ""),
                "data": _compact(event.data),
            }
            for event in events[:EVENTS_SHOWN]
        ],
        "more_events": len(events) > EVENTS_SHOWN,
    }


def _seconds(execution: Execution) -> str:
    if execution.finished_at is None:
        return ""
    return f"{(execution.finished_at - execution.created_at).total_seconds():,.1f} s"


def bounded_json(value: Any) -> dict[str, Any]:
    """Pretty JSON, cut where it would swamp the page; `length` is of the whole."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return {"text": text[:JSON_SHOWN], "length": len(text), "cut": len(text) > JSON_SHOWN}


def _compact(data: Any) -> str:
    """An event's details on one line."""
    members = data.items() if isinstance(data, dict) else ()
    text = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in members)
    return text if len(text) <= EVENT_DATA_SHOWN else text[:EVENT_DATA_SHOWN] + "…"


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "worker_id",
        "state",
        "pipeline_id",
        "release_version",
        "tenant",
        "capacity",
        "artifact",
        "heard_of",
    )
    list_select_related = ("tenant",)
    list_filter = (PipelineFilter, TenantFilter)
    search_fields = ("worker_id", "release_version")
    search_help_text = "Search by worker or release version"
    ordering = ("-last_heartbeat_at",)
    list_per_page = 50

    @badge("State", WORKER_VARIANTS)
    def state(self, worker: Worker) -> str:
        return self._hosting(worker).state

    @badge(
        "Artifact", {"as verified": "success", "another": "danger", "not told": "default", "no such release": "danger"}
    )
    def artifact(self, worker: Worker) -> str:
        host = self._hosting(worker)
        if host.release is None:
            return "no such release"
        return {True: "as verified", False: "another", None: "not told"}[host.fits]

    @column("Last heartbeat", ordering="last_heartbeat_at")
    def heard_of(self, worker: Worker) -> str:
        return moment(worker.last_heartbeat_at)

    def show(self, request: HttpRequest, row: Worker) -> HttpResponse:
        host = self._hosting(row)
        more: dict[str, Any] = {"title": str(row), "original": row, "variant": WORKER_VARIANTS[host.state]}
        return self.page(request, "executions/worker.html", worker=row, host=host, **more)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Looks all rows of the page up at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = rows = list(changelist.result_list)
        for host in hosting(rows):
            host.worker._hosting = host  # type: ignore[attr-defined]  # for this page alone
        return changelist

    def _hosting(self, worker: Worker) -> Hosting:
        kept: Hosting | None = getattr(worker, "_hosting", None)
        return kept or hosting([worker])[0]
