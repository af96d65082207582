"""Workers: the list, the page of one with its state and events, and the pages that drain and undrain it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions.console.confirmation import Confirmation, OperatorRequest, confirmed
from executions.console.filters import ReleaseFilter
from executions.inspection.fleet import Condition, fleet
from executions.models import PAYLOADS, CodeOrigin, Execution, Worker, WorkerEligibility, read_business_keys
from executions.models.states import State
from executions.transports.rest import base_of
from executions.workers import eligibility, registry
from executions.workers.eligibility import differing
from executions.workers.registry import REST
from foundation.admin.columns import badge, column, on_one_line, timed
from releases.models import Release
from releases.registration.pages import PipelineFilter
from tenancy.access import tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import READ, ReadOnlyAdmin, serves
from tenancy.console.lists import ScopedFilter, TenantFilter, text, time
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents.descriptor import ArtifactKind

DRAINED = "DRAINED"
WORKER_VARIANTS = {
    "HEALTHY": "success",
    "DRAINING": "warning",
    DRAINED: "info",
    "STALE": "danger",
    "UNAVAILABLE": "default",
}
NOT_REPORTED = "not reported"
OF_IMAGE = "unverified: an image"
"""The worker's code cannot be compared with the image that its release pins."""
CODE_VARIANTS = {
    CodeOrigin.ARTIFACT.label: "success",
    CodeOrigin.SOURCE.label: "danger",
    OF_IMAGE: "info",
    NOT_REPORTED: "default",
}
ENVIRONMENT_VARIANTS = {
    "as required": "success",
    "differs": "warning",
    "not compared": "default",
    NOT_REPORTED: "default",
}
_IMAGE_KINDS = frozenset(kind.value for kind in ArtifactKind if kind.is_image)


def code_of(worker: Worker) -> str:
    """Return where the worker's code comes from: a key of CODE_VARIANTS."""
    if worker.code == CodeOrigin.IMAGE:
        return OF_IMAGE
    return str(CodeOrigin(worker.code).label) if worker.code else NOT_REPORTED


def images_of(release: Release) -> list[tuple[str, str]]:
    """Return the id and the digest of each image that the release pins."""
    return [
        (artifact["artifactId"], artifact["digest"])
        for artifact in release.descriptor["artifacts"]
        if artifact["kind"] in _IMAGE_KINDS
    ]


def declares_image(worker: Worker, images: list[tuple[str, str]]) -> bool:
    """Return True if the worker says that it runs one of `images`. Nothing proves it."""
    return any(
        worker.artifact_digest == digest or (not worker.artifact_digest and worker.artifact_id == artifact_id)
        for artifact_id, digest in images
    )


def environment_of(worker: Worker) -> str:
    """Return how the worker's environment compares with the required one: a key of ENVIRONMENT_VARIANTS.

    Only a worker that hosts an artifact compares its environment.
    """
    if worker.environment is None:
        return NOT_REPORTED
    if worker.difference_count:
        return "differs"
    return "as required" if worker.code == CodeOrigin.ARTIFACT else "not compared"


def remaining(worker: Worker, running_count: int) -> int:
    """Return how many executions the worker still has: those whose leases it holds, or more if it reported more."""
    return max(running_count, worker.holding or 0)


def state_of(worker: Worker, running_count: int) -> str:
    """Return the state to display: a worker that drains is DRAINED once nothing is running."""
    state = worker.eligibility.state
    return DRAINED if state == WorkerEligibility.State.DRAINING and not remaining(worker, running_count) else state


STATES = WorkerEligibility.State.values
ACCEPTS = "accepts"
EVENTS_SHOWN = 100
MOST_TENANTS, TENANTS_NAMED = 4, 200
CONDITIONS = {
    Condition.STALLED_BY_VERSION: ("stalled by version", "danger"),
    Condition.STALLED: ("stalled", "danger"),
    Condition.UNKNOWN: ("not registered", "warning"),
    Condition.UNHOSTED: ("no worker", "warning"),
    Condition.SERVED: ("served", "success"),
    Condition.UNNEEDED: ("not needed", "default"),
}
"""How the page names whether a release has the workers that it needs."""
RUNNING_SHOWN = 20


class StateFilter(ScopedFilter):
    title = parameter_name = "state"
    options = (*((state, state) for state in STATES), (ACCEPTS, "Accepts executions"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        if self.value() == ACCEPTS:
            return queryset.filter(eligibility__admits=True)
        return queryset.filter(eligibility__state=self.value()) if self.value() in STATES else queryset


class DriftFilter(ScopedFilter):
    title = parameter_name = "drift"
    options = (("yes", "Differs from its release"),)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        return differing(queryset) if self.value() == "yes" else queryset


def _confirmation(worker: Worker, *more: tuple[str, Any], **members: Any) -> Confirmation:
    return Confirmation(
        back=reverse("admin:executions_worker_change", args=[worker.pk]),
        facts=[
            ("Worker", worker.worker_id),
            ("Tenant", worker.tenant.slug),
            ("Pipeline", worker.pipeline_id),
            ("Release", worker.release_version),
            ("Last heartbeat", timed(worker.last_heartbeat_at)),
            *more,
        ],
        **members,
    )


def _drain_confirmation(worker: Worker) -> Confirmation:
    running_count = eligibility.running_counts([worker.eligibility]).get(worker.pk, 0)
    return _confirmation(
        worker,
        ("Transitions that it finishes", f"{remaining(worker, running_count):,}"),
        title=f"Drain {worker.worker_id}",
        lead=(
            "It finishes the transitions in progress and gets no more until it is undrained, even after a restart. If "
            "no other worker hosts its release, the executions of that release wait."
        ),
        button="Drain",
        icon="pause_circle",
        refusal="An operator has already requested a drain." if worker.drained_by_operator_at else "",
    )


def _drain(worker: Worker, requested: OperatorRequest) -> str:
    registry.drain(worker.tenant, worker.pipeline_id, worker.worker_id, actor=requested.actor, reason=requested.reason)
    # What is running is on the page, which is updated. A message is not.
    return f"{worker.worker_id} gets no more executions until it is undrained."


def _undrain_confirmation(worker: Worker) -> Confirmation:
    return _confirmation(
        worker,
        title=f"Undrain {worker.worker_id}",
        lead="This ends the drain that an operator requested. The worker's own state applies again.",
        button="Undrain",
        icon="play_circle",
        refusal="" if worker.drained_by_operator_at else "No operator has requested a drain.",
    )


def _undrain(worker: Worker, requested: OperatorRequest) -> str:
    registry.undrain(
        worker.tenant, worker.pipeline_id, worker.worker_id, actor=requested.actor, reason=requested.reason
    )
    return f"{worker.worker_id} may get work again."


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "state",
        "load",
        "release",
        "last_heartbeat",
        "code_origin",
        "environment_drift",
        "drains",
        "tenant",
    )
    list_select_related = ("tenant", "eligibility")
    list_filter = (StateFilter, DriftFilter, PipelineFilter.at("pipeline_id"), ReleaseFilter, TenantFilter)
    change_list_template = "executions/worker_list.html"
    empty = "Start one with `pipelines worker PIPELINE@VERSION`. It registers automatically."
    search_fields = ("worker_id", "release_version")
    search_help_text = "Search by worker or release version"
    ordering = ("-last_heartbeat_at",)
    list_per_page = 50

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count what is running on the workers of the page, with one query."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = rows = list(changelist.result_list)
        known = eligibility.running_counts([row.eligibility for row in rows])
        for row in rows:
            row.running_count = known.get(row.pk, 0)
        return changelist

    name = text("Worker", "worker_id", ordering="worker_id")
    last_heartbeat = time("Last heartbeat", "last_heartbeat_at", ordering="last_heartbeat_at")

    @column("Release", ordering="release_version")
    def release(self, worker: Worker) -> SafeString:
        pair = (worker.pipeline_id, worker.release_version)
        return format_html('<span class="dc-cell"><span>{}</span><span>{}</span></span>', *pair)

    @badge("State", WORKER_VARIANTS)
    def state(self, worker: Any) -> str:
        return state_of(worker, worker.running_count)

    @column("Running")
    def load(self, worker: Any) -> str:
        return f"{worker.running_count:,} of {max(worker.capacity - worker.abandoned, 0):,}"

    @badge("Code", CODE_VARIANTS | {"as pinned": "success", "another artifact": "danger", "no such release": "danger"})
    def code_origin(self, worker: Worker) -> str | None:
        if worker.eligibility.release_id is None:
            return "no such release"
        fits = worker.eligibility.artifact_fits
        return "another artifact" if fits is False else _reported(code_of(worker)) or ("as pinned" if fits else None)

    @badge("Environment", ENVIRONMENT_VARIANTS)
    def environment_drift(self, worker: Worker) -> str | None:
        return _reported(environment_of(worker))

    @column("Drain", empty="-")
    def drains(self, worker: Worker) -> SafeString | None:
        if worker.drained_by_operator_at:
            return format_html("by an operator, {}", timed(worker.drained_by_operator_at))
        return format_html("automatic, {}", timed(worker.draining_since)) if worker.draining_since else None

    @serves("fleet/", None, Scope.READ, methods=READ)
    def fleet(self, request: HttpRequest) -> HttpResponse:
        """Show the releases of each tenant of the user with their workers, hosts and environments."""
        allowed = tenants_of(request.user).order_by("slug")
        named = allowed.filter(slug=request.GET["tenant"]) if "tenant" in request.GET else allowed
        tenants = list(named[:MOST_TENANTS])
        fleets = [
            (tenant, [(release, *CONDITIONS[release.condition]) for release in fleet(tenant)]) for tenant in tenants
        ]
        return self.page(
            request, "executions/fleet.html", title="Fleet", fleets=fleets, others=_slugs(allowed, tenants)
        )

    drain = confirmed("<int:object_id>/drain/", Act.WORKER_DRAIN, Scope.OPERATE, _drain_confirmation, _drain)
    undrain = confirmed("<int:object_id>/undrain/", Act.WORKER_UNDRAIN, Scope.OPERATE, _undrain_confirmation, _undrain)

    def show(self, request: HttpRequest, row: Worker) -> HttpResponse:
        host = row.eligibility
        events = list(row.events.all()[: EVENTS_SHOWN + 1])
        running = _running(host)
        running_count = eligibility.running_counts([host]).get(host.pk, 0)
        state = state_of(row, running_count)
        more: dict[str, Any] = {
            "title": str(row),
            "original": row,
            "state": state,
            "variant": WORKER_VARIANTS[state],
            "running_count": running_count,
            "remaining": remaining(row, running_count),
            "code": code_of(row),
            "code_variant": CODE_VARIANTS[code_of(row)],
            "of_image": host.release is not None and declares_image(row, images_of(host.release)),
            "refused": host.reason == WorkerEligibility.Reason.UNVERIFIED_CODE,
            "drain": row.events.filter(data__cause="OPERATOR_DRAINED").first() if row.drained_by_operator_at else None,
            "called_at": base_of(row.endpoint) if row.protocol == REST else "",
            "may_operate": self.has_scope(request, Scope.OPERATE, row),
            "running": running[:RUNNING_SHOWN],
            "more_running": len(running) > RUNNING_SHOWN,
            "events": [
                {"event": event, "variant": WORKER_VARIANTS.get(event.state, ""), "data": on_one_line(event.data)}
                for event in events[:EVENTS_SHOWN]
            ],
            "more_events": len(events) > EVENTS_SHOWN,
        }
        return self.page(request, "executions/worker.html", worker=row, host=host, **more)


def _slugs(allowed: QuerySet[Tenant], shown: list[Tenant]) -> list[str]:
    """Return the slugs of the tenants that the page does not show."""
    return list(allowed.exclude(pk__in=[tenant.pk for tenant in shown]).values_list("slug", flat=True)[:TENANTS_NAMED])


def _reported(text: str) -> str | None:
    return None if text == NOT_REPORTED else text


def _running(host: WorkerEligibility) -> list[Execution]:
    """Return the executions whose lease the worker holds, the longest-running first."""
    if host.release_id is None:
        return []
    rows = Execution.objects.filter(release=host.release_id, status=State.RUNNING, lease_owner=host.lease_owner)
    running = list(rows.defer(*PAYLOADS).order_by("updated_at")[: RUNNING_SHOWN + 1])
    read_business_keys(running)
    return running
