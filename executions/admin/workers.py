"""Workers: what each hosts, whether it is alive, what became of it, and an operator's drain."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse

from executions.admin.confirmation import Given, Order, ask
from executions.admin.documents import on_one_line
from executions.admin.filters import PipelineFilter, ReleaseFilter
from executions.models import Execution, Worker, WorkerEligibility, WorkerEvent
from executions.models.states import State
from executions.transports.rest.calls import base_of
from executions.workers import registry
from executions.workers.registry import REST
from foundation.admin.columns import badge, column, moment
from tenancy.admin.base import Person, ReadOnlyAdmin, ScopedFilter, TenantFilter
from tenancy.roles import Scope

STATES = WorkerEligibility.State.values
WORKER_VARIANTS = {"HEALTHY": "success", "DRAINING": "warning", "STALE": "danger", "UNAVAILABLE": "default"}
EVENTS_SHOWN = 100
RUNNING_SHOWN = 20


class StateFilter(ScopedFilter):
    title = "state"
    parameter_name = "state"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((state, state) for state in STATES)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        return queryset.filter(eligibility__state=self.value()) if self.value() in STATES else queryset


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "worker_id",
        "state",
        "protocol",
        "pipeline_id",
        "release_version",
        "tenant",
        "capacity",
        "artifact",
        "drains",
        "heard_of",
    )
    list_select_related = ("tenant", "eligibility")
    list_filter = (StateFilter, PipelineFilter, ReleaseFilter, TenantFilter)
    search_fields = ("worker_id", "release_version")
    search_help_text = "Search by worker or release version"
    ordering = ("-last_heartbeat_at",)
    list_per_page = 50

    @badge("State", WORKER_VARIANTS)
    def state(self, worker: Worker) -> str:
        return worker.eligibility.state

    @badge(
        "Artifact",
        {"as verified": "success", "another": "danger", "not reported": "default", "no such release": "danger"},
    )
    def artifact(self, worker: Worker) -> str:
        if worker.eligibility.release_id is None:
            return "no such release"
        return {True: "as verified", False: "another", None: "not reported"}[worker.eligibility.artifact_fits]

    @column("Drains", empty="-")
    def drains(self, worker: Worker) -> str | None:
        if worker.drained_by_operator_at:
            return f"by an operator since {moment(worker.drained_by_operator_at)}"
        return f"by itself since {moment(worker.draining_since)}" if worker.draining_since else None

    @column("Last heartbeat", ordering="last_heartbeat_at")
    def heard_of(self, worker: Worker) -> str:
        return moment(worker.last_heartbeat_at)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("<int:object_id>/drain/", "drain", self.drain),
            self.own("<int:object_id>/undrain/", "undrain", self.undrain),
        ]

    def drain(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return ask(self, request, self.row_or_404(request, object_id), _drain_order, _drain)

    def undrain(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return ask(self, request, self.row_or_404(request, object_id), _undrain_order, _undrain)

    def show(self, request: HttpRequest, row: Worker) -> HttpResponse:
        host = row.eligibility
        events = list(row.events.all()[: EVENTS_SHOWN + 1])
        running = _running(host)
        more: dict[str, Any] = {
            "title": str(row),
            "original": row,
            "variant": WORKER_VARIANTS[host.state],
            "order": _newest_order(row) if row.drained_by_operator_at else None,
            "called_at": base_of(row.endpoint) if row.protocol == REST else "",
            "may_operate": self.may(request, Scope.OPERATE, row),
            "running": running[:RUNNING_SHOWN],
            "more_running": len(running) > RUNNING_SHOWN,
            "events": [
                {"event": event, "variant": WORKER_VARIANTS.get(event.state, ""), "data": on_one_line(event.data)}
                for event in events[:EVENTS_SHOWN]
            ],
            "more_events": len(events) > EVENTS_SHOWN,
        }
        return self.page(request, "executions/worker.html", worker=row, host=host, **more)


def _newest_order(worker: Worker) -> WorkerEvent | None:
    """By whom it is drained, and why."""
    return worker.events.filter(data__cause="OPERATOR_DRAINED").first()


def _running(host: WorkerEligibility) -> list[Execution]:
    """What it runs, longest first, by the leases that are held in its name."""
    if host.release_id is None:
        return []
    rows = Execution.objects.filter(release=host.release_id, status=State.RUNNING, lease_owner=host.lease_owner)
    return list(rows.defer("input", "result", "progress").order_by("updated_at")[: RUNNING_SHOWN + 1])


# --- orders ---------------------------------------------------------------------------------------


def _order(worker: Worker, **members: Any) -> Order:
    return Order(
        back=reverse("admin:executions_worker_change", args=[worker.pk]),
        facts=[
            ("Worker", worker.worker_id),
            ("Tenant", worker.tenant.slug),
            ("Pipeline", worker.pipeline_id),
            ("Release", worker.release_version),
            ("Last heartbeat", moment(worker.last_heartbeat_at)),
        ],
        **members,
    )


def _drain_order(worker: Worker) -> Order:
    return _order(
        worker,
        title=f"Drain {worker.worker_id}",
        lead=(
            "It finishes what it holds and takes no more until it is undrained; its restart does not end that. Where "
            "no other worker hosts its release, that release's executions wait."
        ),
        button="Drain",
        icon="pause_circle",
        refusal="An operator drains it already." if worker.drained_by_operator_at else "",
    )


def _drain(worker: Worker, given: Given) -> str:
    registry.drain(worker.tenant, worker.pipeline_id, worker.worker_id, actor=given.actor, reason=given.reason)
    return f"{worker.worker_id} is drained."


def _undrain_order(worker: Worker) -> Order:
    return _order(
        worker,
        title=f"Undrain {worker.worker_id}",
        lead="Your order or another operator's is taken back; what the worker says of itself counts again.",
        button="Undrain",
        icon="play_circle",
        refusal="" if worker.drained_by_operator_at else "No operator drains it.",
    )


def _undrain(worker: Worker, given: Given) -> str:
    registry.undrain(worker.tenant, worker.pipeline_id, worker.worker_id, actor=given.actor, reason=given.reason)
    return f"{worker.worker_id} may be given work again."
