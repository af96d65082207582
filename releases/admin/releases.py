"""The list of releases and the page of a release, which shows its status live."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt

from foundation.admin.columns import badge, column
from foundation.admin.times import timed
from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import activation, retirement, revocation
from releases.admin import artifact_uploads, artifacts, attachments, pauses, requests
from releases.admin.activations import activate
from releases.admin.diagrams import diagram
from releases.admin.sections import Section
from releases.admin.type_listings import listing
from releases.admin.uploads import ListWithUpload, upload
from releases.api.artifacts import respond_descriptor
from releases.models import Kind, Pipeline, Release, Retirement, Revocation
from releases.registration.progress import waits_until
from releases.states import PENDING, Status
from releases.trust import trust
from tenancy.access import actor, tenants_of
from tenancy.admin.base import Person, ScopedFilter, TenantFilter
from tenancy.roles import Scope

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
CHOICES_SHOWN = 100
DEPLOYMENTS_SHOWN = 20


section_sources: list[Callable[[Release], Section]] = []
"""What other packages add to the page of a release."""


class StatusFilter(ScopedFilter):
    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((status.value, status.value) for status in Status)
        yield queries.REJECTED_RECENTLY, "Rejected and not uploaded again"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        if self.value() == queries.REJECTED_RECENTLY:
            return queries.rejected_recently(queryset)
        return queryset.filter(status=self.value()) if self.value() else queryset


class ArtifactsFilter(ScopedFilter):
    title = "artifacts"
    parameter_name = "artifacts"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield "unsound", "Damaged or missing"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        return queries.with_unsound_artifacts(queryset) if self.value() == "unsound" else queryset


class PipelineFilter(ScopedFilter):
    title = "pipeline"
    parameter_name = "pipeline"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        rows = Pipeline.objects.filter(tenant__in=tenants_of(person)).order_by("pipeline_id")
        names = rows.values_list("pipeline_id", flat=True).distinct()
        yield from ((name, name) for name in names[:CHOICES_SHOWN])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        return queryset.filter(pipeline__pipeline_id=self.value()) if self.value() else queryset


class ReleaseTenantFilter(TenantFilter):
    lookup = "pipeline__tenant__slug"


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
    list_filter = (StatusFilter, ArtifactsFilter, PipelineFilter, ReleaseTenantFilter)
    search_fields = ("release_version", "pipeline__pipeline_id")
    search_help_text = "Search by version or pipeline"
    ordering = ("-id",)
    list_per_page = 50
    empty = "A release is the descriptor of a pipeline with its artifacts. `pipelines release` writes it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        rows = super().get_queryset(request).select_related("pipeline__tenant", "pipeline__activation")
        is_one = request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
        return rows.select_related("contract", "pipeline__activation__release") if is_one else rows

    @column("Pipeline", ordering="pipeline__pipeline_id")
    def pipeline_name(self, release: Release) -> str:
        return release.pipeline.pipeline_id

    @column("Tenant", ordering="pipeline__tenant__slug")
    def tenant(self, release: Release) -> str:
        return release.pipeline.tenant.slug

    @badge("Status", VARIANTS, ordering="status")
    def state(self, release: Release) -> str:
        return release.status

    @badge("Active", {"active": "primary"}, empty="")
    def activity(self, release: Release) -> str | None:
        return "active" if release.is_active else None

    @badge("Signatures", STANDING_VARIANTS, empty="")
    def signed(self, release: Any) -> str | None:
        return STANDINGS.get(release.standing)

    @column("Uploaded", ordering="id")
    def uploaded_at(self, release: Release) -> SafeString | None:
        return timed(release.created_at)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Add the standing of the signatures to each row, which a query cannot compute."""
        changelist = super().get_changelist_instance(request)
        found = trust.standings(changelist.result_list)
        for release in changelist.result_list:
            release.standing = found[release.pk]
        return changelist

    def own_urls(self) -> list[URLPattern]:
        # `upload` and `attach` install their upload handler first and then check the CSRF token themselves.
        return [
            self.own("upload/", "upload", csrf_exempt(self.upload)),
            self.own("upload/direct/<slug:tenant>/", "direct", self.direct),
            self.own("upload/direct/<slug:tenant>/<str:upload_id>/", "direct_one", self.direct_one),
            self.own("<int:object_id>/activate/", "activate", self.activate),
            self.own("<int:object_id>/request/", "request", self.request),
            self.own("<int:object_id>/revoke/", "revoke", self.revoke),
            self.own("<int:object_id>/retire/", "retire", self.retire),
            self.own("<int:object_id>/attach/", "attach", csrf_exempt(self.attach)),
            self.own("<int:object_id>/attachments/<int:attachment_id>/", "attachment", self.attachment),
            self.own("<int:object_id>/artifacts/<int:artifact_id>/", "artifact", self.artifact),
            self.own("<int:object_id>/descriptor/", "descriptor", self.descriptor),
            self.fragment("<int:object_id>/status/", "status", self.status),
        ]

    def upload(self, request: HttpRequest) -> HttpResponse:
        return upload(self, request)

    def direct(self, request: HttpRequest, tenant: str) -> HttpResponse:
        return artifact_uploads.begin(request, tenant)

    def direct_one(self, request: HttpRequest, tenant: str, upload_id: str) -> HttpResponse:
        return artifact_uploads.one(request, tenant, upload_id)

    def activate(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return activate(self, request, self.row_or_404(request, object_id))

    def request(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return requests.ask(self, request, self.row_or_404(request, object_id))

    def revoke(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Revoke the release permanently."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        release = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ACTIVATE, release):
            raise PermissionDenied
        try:
            revocation.revoke(
                release,
                actor=actor(request.user),
                reason=request.POST.get("reason", "")[:1000],
                open_executions=_order(request.POST.get("open_executions", revocation.Order.LEAVE)),
            )
        except CoordinatorError as error:
            messages.error(request, f"{error.title}: {error.detail}")
        else:
            messages.success(request, f"Release {release} is revoked and can never be activated again.")
        return redirect("admin:releases_release_change", release.pk)

    def retire(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Retire the release permanently, if nothing needs it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        release = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ACTIVATE, release):
            raise PermissionDenied
        try:
            retirement.retire(
                release,
                actor=actor(request.user),
                reason=request.POST.get("reason", "")[:1000],
                give_up_failures=bool(request.POST.get("ignore_failures")),
            )
        except CoordinatorError as error:
            messages.error(request, f"{error.title}: {error.detail}")
        else:
            messages.success(request, f"Release {release} is retired. Its workers may be stopped.")
        return redirect("admin:releases_release_change", release.pk)

    def attach(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return attachments.attach(self, request, self.row_or_404(request, object_id))

    def attachment(self, request: HttpRequest, object_id: int, attachment_id: int) -> HttpResponse:
        return attachments.copy(self.row_or_404(request, object_id), attachment_id)

    def artifact(self, request: HttpRequest, object_id: int, artifact_id: int) -> HttpResponseBase:
        return artifacts.copy(self, request, self.row_or_404(request, object_id), artifact_id)

    def descriptor(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Download the exact bytes of the descriptor, as the API does."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return respond_descriptor(request, self.row_or_404(request, object_id))

    def show(self, request: HttpRequest, row: Release) -> HttpResponse:
        return self.page(request, "releases/release.html", title=str(row), original=row, **self._context(request, row))

    def status(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows the status and how far it is."""
        release = self.row_or_404(request, object_id)
        if request.GET.get("shown") == _shown(release):
            return HttpResponse(status=204)
        return self.page(request, "releases/release_live.html", **self._context(request, release))

    def _context(self, request: HttpRequest, release: Release) -> dict[str, Any]:
        active = release.pipeline.activation.release if release.pipeline.activation else None
        contract = queries.contract_of(release)
        is_over = release.status in {Status.REVOKED, Status.RETIRED}
        holds = pauses.open_holds(release, release.pipeline)
        attached = trust.attached(release)
        return {
            "release": release,
            "stages": stages(release),
            "pending": release.status in PENDING,
            "shown": _shown(release),
            "waits_until": waits_until(release),
            "active": active,
            "is_rollback": activation.kind_of(release, active) == Kind.ROLLBACK,
            "artifacts": artifacts.of(release),
            **_deployments(release),
            "may_download": release.status != Status.REJECTED and self.may(request, Scope.ARTIFACTS, release),
            "contract": contract,
            "diagram": diagram(contract) if contract else None,
            "type_listing": listing(contract.canonical_types) if contract else None,
            "compared": _compared(release),
            "variant": VARIANTS[release.status],
            "revocation": Revocation.objects.filter(release=release).first() if is_over else None,
            "retirement": Retirement.objects.filter(release=release).first() if is_over else None,
            "trust": trust.of(release, signers=trust.signers_in(attached)),
            "attached": attached,
            "sections": [source(release) for source in section_sources],
            "may_register": self.may(request, Scope.REGISTER, release),
            "upload_again": f"{reverse('admin:releases_release_upload')}?again={release.pk}",
            "may_attach": release.status in {*PENDING, Status.REGISTERED}
            and self.may(request, Scope.REGISTER, release),
            "may_activate": self.may(request, Scope.ACTIVATE, release),
            "may_administer": self.may(request, Scope.ADMINISTER, release),
            "holds": holds,
            "paused": any(hold.release_id == release.pk for hold in holds),
        }


def _shown(release: Release) -> str:
    """Return a text that changes with the status of the release and with the progress of its verification."""
    if not release.progress:
        return release.status
    progress = json.dumps(release.progress, sort_keys=True).encode()
    return f"{release.status}-{hashlib.sha256(progress).hexdigest()[:16]}"


def _order(name: str) -> revocation.Order:
    try:
        return revocation.Order(name)
    except ValueError:
        raise BadRequest("Unknown order for open executions") from None


def _compared(release: Release) -> list[str]:
    """Return the versions to compare with, newest first. A rejected release has nothing to compare."""
    if release.status == Status.REJECTED:
        return []
    others = Release.objects.filter(pipeline=release.pipeline_id).exclude(status=Status.REJECTED).exclude(pk=release.pk)
    return list(others.order_by("-id").values_list("release_version", flat=True)[:CHOICES_SHOWN])


def _deployments(release: Release) -> dict[str, Any]:
    newest = list(release.deployments.order_by("-created_at", "-id")[: DEPLOYMENTS_SHOWN + 1])
    return {"deployments": newest[:DEPLOYMENTS_SHOWN], "more_deployments": len(newest) > DEPLOYMENTS_SHOWN}


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
