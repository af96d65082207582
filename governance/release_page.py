"""The list of releases and the page of a release, which shows its status live."""

import hashlib
import json
from collections.abc import Callable
from copy import copy
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from executions.admin import workers as worker_pages
from executions.console.filters import STATE_VARIANTS
from executions.inspection.counts import MOST_READ, counts_of
from executions.models import WorkerEligibility
from executions.search import searched
from foundation.admin.columns import badge
from governance.activation import activation, pages
from governance.contract_picture import diagram, listing
from governance.recovery import pages as recovery_pages
from governance.reports.pages import lines_of
from governance.requests import pages as requests
from governance.retirement import pages as ends
from governance.retirement.retirement import FAILURES, blockers
from governance.smoke_tests import pages as smoke_pages
from releases import pointer, queries
from releases.artifacts.api import respond_descriptor
from releases.models import Kind, Release, Retirement, Revocation
from releases.registration import pages as uploads
from releases.registration.pages import CHOICES_SHOWN, ListWithUpload, PipelineFilter
from releases.registration.progress import waits_until
from releases.states import PENDING, Status
from releases.step_policies import effective_limits, policies_of
from releases.trust import trust
from tenancy.audit.people import person_behind
from tenancy.console.base import READ, serves
from tenancy.console.lists import ScopedFilter, TenantFilter, text, time
from tenancy.roles import Scope
from wire.documents.contract import Step
from wire.documents.declarations import flat
from wire.documents.execution_statement import named

VARIANTS = {
    Status.UPLOADED.value: "info",
    Status.VERIFYING.value: "info",
    Status.REGISTERED.value: "success",
    Status.REJECTED.value: "danger",
    Status.REVOKED.value: "warning",
    Status.RETIRED.value: "default",
}
STANDINGS = {
    trust.Standing.SIGNED: "signed",
    trust.Standing.REVOKED_KEYS: "revoked keys",
    trust.Standing.UNTRUSTED: "untrusted",
}
STANDING_VARIANTS = {"signed": "success", "revoked keys": "danger", "untrusted": "warning"}
DEPLOYMENTS_SHOWN = 20
TABS: Final = {
    "overview": "Overview",
    "contents": "Steps and types",
    "artifacts": "Artifacts",
    "trust": "Signatures",
    "tests": "Smoke tests",
    "end": "Pause, revoke, retire",
}


class StatusFilter(ScopedFilter):
    title = parameter_name = "status"
    options = (
        *((status.value, status.value) for status in Status),
        (queries.REJECTED_RECENTLY, "Rejected and not uploaded again"),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        if self.value() == queries.REJECTED_RECENTLY:
            return queries.rejected_recently(queryset)
        return super().queryset(request, queryset)


class ArtifactsFilter(ScopedFilter):
    title = parameter_name = "artifacts"
    options = (("unsound", "Damaged or missing"),)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        return queries.with_unsound_artifacts(queryset) if self.value() == "unsound" else queryset


@admin.register(Release)
class ReleaseAdmin(ListWithUpload):
    tenant_path = "pipeline__tenant"
    list_display = (
        "release_version",
        "pipeline_name",
        "tenant",
        "state",
        "activity",
        "signed",
        "uploaded_by",
        "uploaded_at",
    )
    list_select_related = ("pipeline__tenant", "pipeline__activation")
    list_filter = (StatusFilter, ArtifactsFilter, PipelineFilter, TenantFilter)
    search_fields = ("release_version", "pipeline__pipeline_id")
    search_help_text = "Search by version or pipeline"
    ordering = ("-id",)
    list_per_page = 50
    standings: dict[int, trust.Standing]
    """What the columns of one list show of its releases."""
    empty = "A release is the descriptor of a pipeline with its artifacts. `pipelines release` writes it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        rows = super().get_queryset(request).select_related("pipeline__tenant", "pipeline__activation")
        is_one = request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
        return rows.select_related("contract", "pipeline__activation__release") if is_one else rows

    pipeline_name = text("Pipeline", "pipeline.pipeline_id", ordering="pipeline__pipeline_id")
    tenant = text("Tenant", "pipeline.tenant.slug", ordering="pipeline__tenant__slug")
    uploaded_at = time("Uploaded", "created_at", ordering="id")

    @badge("Status", VARIANTS, ordering="status")
    def state(self, release: Release) -> str:
        return release.status

    @badge("Active", {"active": "primary"})
    def activity(self, release: Release) -> str | None:
        return "active" if release.is_active else None

    @badge("Signatures", STANDING_VARIANTS)
    def signed(self, release: Release) -> str | None:
        return STANDINGS.get(self.standings[release.pk])

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Give the columns the standing of the signatures of each row, which a query cannot compute."""
        changelist = super().get_changelist_instance(request)
        changelist.model_admin = columns = copy(self)
        columns.standings = trust.standings(changelist.result_list)
        return changelist

    upload = uploads.upload
    direct = uploads.begin_direct
    direct_one = uploads.one_direct
    activate = pages.activate
    activate_form = pages.activate_form
    request = requests.ask
    revoke = ends.revoke
    retire = ends.retire
    recovery = recovery_pages.show
    recovery_proof = recovery_pages.proof
    recovery_record = recovery_pages.what_was_done
    recovery_draft = recovery_pages.draft
    attach = uploads.attach
    attachment = uploads.attachment
    artifact = uploads.artifact

    @serves("<int:object_id>/descriptor/", methods=READ)
    def descriptor(self, request: HttpRequest, release: Release) -> HttpResponse:
        """Download the exact bytes of the descriptor, as the API does."""
        return respond_descriptor(request, release)

    def show(self, request: HttpRequest, row: Release) -> HttpResponse:
        return self.page(request, "releases/release.html", title=str(row), original=row, **self._context(request, row))

    @serves("<int:object_id>/status/", polled=True)
    def status(self, request: HttpRequest, release: Release) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows the status and how far it is."""
        if request.GET.get("shown") == _shown(release):
            return HttpResponse(status=204)
        return self.page(request, "releases/release_live.html", **self._context(request, release))

    def _context(self, request: HttpRequest, release: Release) -> dict[str, Any]:
        shown = tab_of(request, TABS, "overview")
        active = release.pipeline.active_release
        contract = queries.contract_of(release)
        steps = contract.steps if contract else ()
        policies = policies_of(release)
        is_over = release.status in {Status.REVOKED, Status.RETIRED}
        holds = open_holds(release, release.pipeline)
        attached = trust.attached(release)
        deployments = list(release.deployments.order_by("-created_at", "-id")[: DEPLOYMENTS_SHOWN + 1])
        return {
            **shown,
            "release": release,
            "has_earlier": pointer.has_earlier(release.pipeline),
            "stages": stages(release),
            "pending": release.status in PENDING,
            "shown": _shown(release),
            "waits_until": waits_until(release),
            "active": active,
            "is_rollback": activation.kind_of(release, active) == Kind.ROLLBACK,
            "artifacts": uploads.artifacts_of(release),
            "deployments": deployments[:DEPLOYMENTS_SHOWN],
            "more_deployments": len(deployments) > DEPLOYMENTS_SHOWN,
            "may_download": release.status != Status.REJECTED and self.has_scope(request, Scope.ARTIFACTS, release),
            "contract": contract,
            "diagram": diagram(contract, {policy.step: policy.short for policy in policies.values()})
            if contract
            else None,
            "policies": policies,
            "unknown_policies": sorted(policies.keys() - {step.authored_name for step in steps}),
            "steps": [
                (
                    step,
                    _runs(step) if step.kind != "internal" or step.branching else ("internal", ""),
                    policies.get(step.authored_name or ""),
                )
                for step in steps
            ],
            "type_listing": listing(contract.canonical_types) if contract else None,
            "declared": _declared(release) if release.declarations else [],
            "compared": _compared(release),
            "variant": VARIANTS[release.status],
            "revocation": Revocation.objects.filter(release=release).first() if is_over else None,
            "retirement": Retirement.objects.filter(release=release).first() if is_over else None,
            "trust": trust.trust_of(release, signers=trust.signers_in(attached)),
            "attached": attached,
            **SECTIONS.get(shown["tab"], _nothing)(release),
            "may_register": self.has_scope(request, Scope.REGISTER, release),
            "upload_again": f"{reverse('admin:releases_release_upload')}?again={release.pk}",
            "may_attach": release.status in {*PENDING, Status.REGISTERED}
            and self.has_scope(request, Scope.REGISTER, release),
            "may_activate": self.has_scope(request, Scope.ACTIVATE, release),
            "may_roll_back": self.has_scope(request, Scope.ROLL_BACK, release),
            "may_audit": self.has_scope(request, Scope.AUDIT, release),
            "holds": holds,
            "paused": any(hold.release_id == release.pk for hold in holds),
        }


def tab_of(request: HttpRequest, titles: dict[str, str], default: str) -> dict[str, Any]:
    """Return the context of the tabs with these titles: the `tab` that the query names, or the default, and `tabs`."""
    named = request.GET.get("tab", "")
    return {"tab": named if named in titles else default, "tabs": list(titles.items())}


def _shown(release: Release) -> str:
    """Return a text that changes with the status of the release and with the progress of its verification."""
    if not release.progress:
        return release.status
    progress = json.dumps(release.progress, sort_keys=True).encode()
    return f"{release.status}-{hashlib.sha256(progress).hexdigest()[:16]}"


def _runs(step: Step) -> tuple[str, str]:
    """Return the kind of a step, and what it asks, calls or runs."""
    if step.calls_pipeline:
        return f"calls {step.calls_pipeline}", step.calls_release or "(active release)"
    if step.branching is not None:
        return f"{step.kind}:", step.branching.text
    if not step.await_transport:
        return step.kind, ""
    return step.kind, f"over {step.await_transport}" + (f", if {step.condition}" if step.condition else "")


def _declared(release: Release) -> list[tuple[str, str, str]]:
    """Return the path of each declared value, the value, and what the policy of the pipeline makes of a limit."""
    declared = release.declarations
    effective = flat({"concurrency": effective_limits(release)}) if "concurrency" in declared else {}
    return [(path, value, effective.get(path, value)) for path, value in flat(declared).items()]


def _compared(release: Release) -> list[str]:
    """Return the versions to compare with, newest first. A rejected release has nothing to compare."""
    if release.status == Status.REJECTED:
        return []
    others = Release.objects.filter(pipeline=release.pipeline_id).exclude(status=Status.REJECTED).exclude(pk=release.pk)
    return list(others.order_by("-id").values_list("release_version", flat=True)[:CHOICES_SHOWN])


def stages(release: Release) -> list[dict[str, str]]:
    """Return the stages of a release for a stepper: those done, the current one and those to come."""
    reached = {Status.UPLOADED: 0, Status.VERIFYING: 1}.get(Status(release.status), 2)
    last = release.status if reached == 2 else Status.REGISTERED.value
    kinds = dict.fromkeys((Status.REJECTED.value, Status.REVOKED.value), "bad")
    icons = {"good": "check", "bad": "close", "done": "check", "now": "progress_activity", "todo": "more_horiz"}
    shown = []
    for place, name in enumerate((Status.UPLOADED.value, Status.VERIFYING.value, last)):
        kind = "done" if place < reached else "now" if place == reached else "todo"
        if place == reached == 2:
            kind = kinds.get(name, "good")
        shown.append({"name": name, "kind": kind, "icon": icons[kind]})
    return shown


# --- what the page says about executions and workers ---


def needed(release: Release) -> dict[str, Any]:
    """Return what still needs the release, if it is registered."""
    needs = blockers(release) if release.status == "REGISTERED" else []
    only_failures = bool(needs) and all(need.kind in FAILURES for need in needs)
    return {"lines": lines_of(release, needs), "only_failures": only_failures}


def executions(release: Release) -> dict[str, Any]:
    """Return how many executions of the release are in which state."""
    counted = counts_of(release)
    shared = {
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }

    def link(model: str, **filters: str) -> str:
        return f"{reverse(f'admin:executions_{model}_changelist')}?{urlencode({**filters, **shared})}"

    return {
        "counts": [
            (count, STATE_VARIANTS[count.status], link("execution", status=searched(count.status)))
            for count in counted.counts
        ],
        "errors": [(code, count, link("deadletter", error=code)) for code, count in counted.errors],
        "errors_complete": counted.errors_complete,
        "is_complete": all(count.is_complete for count in counted.counts),
        "most": MOST_READ,
    }


def _nothing(release: Release) -> dict[str, Any]:
    return {}


SECTIONS: Final[dict[str, Callable[[Release], dict[str, Any]]]] = {
    "overview": lambda release: {
        "executions": executions(release),
        "workers": workers(release),
        "uploader": named(
            release.uploaded_by, person_behind(release.pipeline.tenant, release.uploaded_by, release.created_at)
        ),
    },
    "tests": lambda release: {"smoke_tests": smoke_pages.newest(release)},
    "end": lambda release: {"needed": needed(release)},
}
"""What a tab reads of executions and workers."""
WORKERS_SHOWN = 50
DIFFERENCES_SHOWN = 5


def workers(release: Release) -> dict[str, Any]:
    """Return the workers of the release that have not stopped, the newest heartbeats first."""
    rows = WorkerEligibility.objects.filter(release=release, worker__stopped_at=None)
    hosts = list(rows.select_related("worker").order_by("-worker__last_heartbeat_at", "pk")[: WORKERS_SHOWN + 1])
    images = worker_pages.images_of(release)
    lines = [_line(host, images) for host in hosts[:WORKERS_SHOWN]]
    healthy = sum(host.state == WorkerEligibility.State.HEALTHY for host in hosts[:WORKERS_SHOWN])
    return {"lines": lines, "more": len(hosts) > WORKERS_SHOWN, "images": images, "healthy": healthy}


def _line(host: WorkerEligibility, images: list[tuple[str, str]]) -> dict[str, object]:
    worker = host.worker
    code, environment = worker_pages.code_of(worker), worker_pages.environment_of(worker)
    differences = worker.environment["differences"][:DIFFERENCES_SHOWN] if worker.environment else []
    return {
        "worker": worker,
        "host": host,
        "of_image": worker_pages.declares_image(worker, images),
        "variant": worker_pages.WORKER_VARIANTS[host.state],
        "code": code,
        "code_variant": worker_pages.CODE_VARIANTS[code],
        "environment": environment,
        "environment_variant": worker_pages.ENVIRONMENT_VARIANTS[environment],
        "differences": differences,
        "more_differences": worker.difference_count - len(differences),
    }


def open_holds(*rows: Any) -> list[Any]:
    """Return the open holds of these rows. Each row has a relation `holds`, and is the row of its holds."""
    return [hold for row in rows for hold in row.holds.filter(ended_at=None)]
