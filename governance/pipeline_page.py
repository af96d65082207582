"""The page of a pipeline: its active release, its releases, its activations and its policy."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import ValidationError as ValidationFailed
from django.core.paginator import Page, Paginator
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from executions import statistics
from executions.holds.holds import with_pauses
from executions.models import Interaction, WorkerEligibility
from foundation import moments, past_times
from foundation.admin.columns import badge, column
from foundation.errors import CoordinatorError
from governance import policy_page
from governance.activation import pages as activations
from governance.active import pages as active_page
from governance.gradual import pages as gradual_activations
from governance.release_page import open_holds, tab_of
from governance.reports import pages as comparison
from governance.reports.drift import Kind, drift
from releases import active_then, pointer, queries
from releases.api import export
from releases.errors import NoneActiveThen, ProvenanceKeyMissing
from releases.models import SWITCHES, Activation, ActivationRequest, Pipeline, Release
from releases.registration.pages import ListWithUpload
from releases.states import UNDECIDED, Status
from releases.trust import trust
from tenancy.audit.people import Acted, people_behind
from tenancy.console.base import READ, serves
from tenancy.console.lists import TenantFilter, text, time
from tenancy.roles import Scope
from wire.documents.contract import AUTOMATIC

RELEASES_SHOWN: Final = 20
ACTIVATIONS_DRAWN: Final = 30
MOST_QUESTIONS: Final = 1_000
SHORTEST: Final = timedelta(minutes=1)


def health(pipeline: Pipeline) -> dict[str, Any]:
    """Return how the releases of the pipeline do. Makes a fixed number of queries."""
    return {
        "pipeline": pipeline,
        "lines": _lines(pipeline),
        "spans": spans(_switches(pipeline), timezone.now()),
        "questions": _questions(pipeline),
        "most_questions": MOST_QUESTIONS,
        "scheduled": list(
            ActivationRequest.objects.filter(pipeline=pipeline, status__in=UNDECIDED)
            .select_related("release")
            .order_by("activate_at", "created_at")[:RELEASES_SHOWN]
        ),
    }


def _lines(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the releases that ran in the last day, have workers, or are active. `adoption` is a share in percent."""
    day = statistics.last_day([pipeline.tenant_id], pipeline.pk)
    hosts = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, release__pipeline=pipeline).order_by()
    workers = dict(hosts.values_list("release_id").annotate(count=Count("pk")))
    active = pipeline.activation.release_id if pipeline.activation else None
    candidate = pipeline.activation.candidate_id if pipeline.activation else None
    ids = {*day.releases, *workers, active, candidate} - {None}
    rows = Release.objects.filter(pk__in=ids).defer("descriptor", "descriptor_document").order_by("-pk")
    total = sum(totals.finished for totals in day.releases.values())
    return [
        {
            "release": release,
            "totals": day.total(release.pk),
            "adoption": 100 * day.total(release.pk).finished / total if total else 0.0,
            "workers": workers.get(release.pk, 0),
            "is_active": release.pk == active,
        }
        for release in rows[:RELEASES_SHOWN]
    ]


def _switches(pipeline: Pipeline) -> list[Activation]:
    """Return the newest activations that changed the active release, oldest first."""
    rows = Activation.objects.filter(pipeline=pipeline, kind__in=SWITCHES).order_by("-sequence")
    rows = rows.select_related("release").only("activated_at", "release__release_version")
    return list(rows[:ACTIVATIONS_DRAWN])[::-1]


def spans(switches: Sequence[Activation], now: datetime) -> list[dict[str, Any]]:
    """Return when each release was active, from the first of `switches` until `now`. A picture shows it.

    `left` and `width` are in percent of its width.
    """
    if not switches:
        return []
    first = min(switches[0].activated_at, now - SHORTEST)
    total = (now - first).total_seconds()
    starts = [switch.activated_at for switch in switches]
    versions = dict.fromkeys(_version(switch) for switch in reversed(switches))  # the active one has the first colour
    layers = {version: number for number, version in enumerate(versions)}
    return [
        {
            "version": _version(switch),
            "left": round(100 * (start - first).total_seconds() / total, 3),
            "width": round(100 * (end - start).total_seconds() / total, 3),
            "since": start,
            "layer": layers[_version(switch)] % 4,
        }
        for switch, start, end in zip(switches, starts, [*starts[1:], now], strict=True)
    ]


def _version(switch: Activation) -> str:
    return switch.release.release_version


def _questions(pipeline: Pipeline) -> int:
    """Count the open questions of the pipeline, at most MOST_QUESTIONS + 1."""
    rows = Interaction.objects.filter(tenant=pipeline.tenant_id, status__in=Interaction.OPEN).exclude(
        transport__in=AUTOMATIC
    )
    return rows.filter(execution__pipeline_id=pipeline.pipeline_id).order_by()[: MOST_QUESTIONS + 1].count()


DRIFTS_SHOWN = 50
DRIFT_VARIANTS = {
    Kind.CONTRACT: "danger",
    Kind.ARTIFACT: "danger",
    Kind.ENVIRONMENT: "warning",
    Kind.DEPLOYMENT: "danger",
    Kind.CALLERS: "info",
}


def drift_of(pipeline: Pipeline) -> dict[str, Any]:
    drifts = drift(pipeline.tenant, pipeline)
    lines = [(line, DRIFT_VARIANTS[line.kind]) for line in drifts[:DRIFTS_SHOWN]]
    return {"lines": lines, "more": max(len(drifts) - DRIFTS_SHOWN, 0)}


PIPELINE_TABS: Final = {"overview": "Overview", "releases": "Releases", "history": "History", "policy": "Policy"}
NEWEST_RELEASES = 50
HISTORY_PAGE = 25


@admin.register(Pipeline)
class PipelineAdmin(ListWithUpload):
    list_display = ("pipeline_id", "tenant", "active_release", "state", "since", "release_count")
    list_select_related = ("tenant", "activation__release")
    list_filter = (TenantFilter,)
    list_before_template = "releases/pipeline_list_head.html"
    search_fields = ("pipeline_id",)
    search_help_text = "Search by pipeline id"
    empty = "The first release of a pipeline creates it: upload one."
    ordering = ("tenant__slug", "pipeline_id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        switches = Activation.objects.filter(pipeline=OuterRef("pk"), kind__in=SWITCHES).order_by("-sequence")
        rows: QuerySet[Pipeline] = super().get_queryset(request)
        return with_pauses(
            rows.annotate(release_count=Count("releases"), active_since=Subquery(switches.values("activated_at")[:1]))
        )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Pipeline | None:
        """Return the pipeline with all that its page shows of it, in one query."""
        try:
            row = super().get_queryset(request).filter(pk=Pipeline._meta.pk.to_python(object_id)).only("pk")
            return queries.with_activation(Pipeline.objects.filter(pk__in=row)).get()
        except (ValidationFailed, ValueError, Pipeline.DoesNotExist):
            return None

    @column("Active release", empty="none yet")
    def active_release(self, pipeline: Pipeline) -> str | None:
        return pipeline.activation.release.release_version if pipeline.activation else None

    @badge("State", {"paused": "warning", "gradual": "info"})
    def state(self, pipeline: Any) -> str | None:
        is_gradual = pipeline.activation is not None and pipeline.activation.candidate_id is not None
        return "paused" if pipeline.is_paused else "gradual" if is_gradual else None

    since = time("Active since", "active_since", empty="-")
    release_count = text("Releases", "release_count", ordering="release_count")

    active = active_page.show
    active_export = active_page.export
    compare = comparison.page
    rollback = activations.roll_back
    gradual = gradual_activations.begin
    gradual_step = gradual_activations.step
    gradual_promote = gradual_activations.promote
    gradual_withdraw = gradual_activations.withdraw
    policy = policy_page.change

    def show(self, request: HttpRequest, row: Pipeline) -> HttpResponse:
        pipeline = row
        shown = _history(pipeline).get_page(request.GET.get("page"))
        rows = pipeline.releases.only("pipeline", "release_version", "status", "uploaded_by", "created_at")
        releases = list(rows.order_by("-id")[: NEWEST_RELEASES + 1])
        formerly_active = _formerly_active(pipeline, shown, releases)
        may_activate = self.has_scope(request, Scope.ACTIVATE, pipeline)
        gradual = gradual_activations.shown(self, request, pipeline)
        tab = tab_of(request, PIPELINE_TABS, "history" if {"at", "page"} & request.GET.keys() else "overview")
        activated = _newest_switch(pipeline, shown)
        return self.page(
            request,
            "releases/pipeline.html",
            title=pipeline.pipeline_id,
            original=pipeline,
            pipeline=pipeline,
            active=pipeline.activation,
            activated=activated,
            people=_people(pipeline, activated, shown if tab["tab"] == "history" else ()),
            trust=_trust(pipeline),
            history=shown,
            formerly_active=formerly_active,
            next_release=None if gradual["gradual"] or not may_activate else _next(pipeline, releases, formerly_active),
            is_signed=trust.has_statement_key(),
            **_active_then(pipeline, request.GET.get("at", "").strip()),
            has_earlier=pointer.has_earlier(pipeline),
            **tab,
            may_roll_back=self.has_scope(request, Scope.ROLL_BACK, pipeline),
            **gradual,
            releases=releases[:NEWEST_RELEASES],
            more_releases=len(releases) > NEWEST_RELEASES,
            may_activate=may_activate,
            holds=open_holds(pipeline),
            policy=policy_page.policy_of(pipeline),
            changed_policy=policy_page.changed_of(pipeline),
            may_administer=self.has_scope(request, Scope.ADMINISTER, pipeline),
            may_audit=self.has_scope(request, Scope.AUDIT, pipeline),
        )

    @serves("<int:object_id>/health/", methods=READ, polled=True, name="health")
    def releases_in_use(self, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
        """Return the part of the page that reads executions, workers and questions."""
        return self.part(
            request,
            "executions/pipeline_health.html",
            title="Health of its releases",
            original=pipeline,
            section=health(pipeline),
            drift=drift_of(pipeline),
        )

    @serves("<int:object_id>/history/", methods=READ)
    def history_export(self, request: HttpRequest, row: Pipeline) -> HttpResponse:
        """Download the signed activation history. Without a key or a history, the document does not exist."""
        try:
            return export(queries.pipeline(row.tenant, row.pipeline_id))
        except (NoneActiveThen, ProvenanceKeyMissing):
            raise Http404 from None


def _active_then(pipeline: Pipeline, at: str) -> dict[str, Any]:
    """Return what was active at the time that the user asks for, or why there is no answer."""
    if not at:
        return {"asked_at": ""}
    try:
        return {"asked_at": at, "active_then": active_then.active_at(pipeline, moments.read_past(at))}
    except (ValueError, OverflowError) as error:
        return {"asked_at": at, "none_then": f"It {past_times.rule_of(error)}."}
    except CoordinatorError as error:
        return {"asked_at": at, "none_then": error.detail}


def _history(pipeline: Pipeline) -> "Paginator[Activation]":
    """Return the pages of the history. The sequence of the newest activation is their number: it has no gaps."""
    pages = Paginator(queries.with_versions(queries.history(pipeline)), HISTORY_PAGE)
    pages.count = pipeline.activation.sequence if pipeline.activation else 0
    return pages


def _formerly_active(pipeline: Pipeline, shown: "Page[Activation]", releases: Sequence[Release]) -> set[int]:
    """Return which of `releases` were activated. A history of one page is enough to tell."""
    if shown.paginator.num_pages == 1:
        return {activation.release_id for activation in shown}
    return set(pipeline.activations.filter(release__in=releases).values_list("release", flat=True))


def _next(pipeline: Pipeline, releases: Sequence[Release], formerly_active: set[int]) -> Release | None:
    """Return the newest registered release, if it is newer than the active one and was never active."""
    newest = next((release for release in releases if release.status == Status.REGISTERED), None)
    active = pipeline.activation.release_id if pipeline.activation else 0
    return newest if newest and newest.pk > active and newest.pk not in formerly_active else None


def _newest_switch(pipeline: Pipeline, shown: "Page[Activation]") -> Activation | None:
    """Return the newest activation that changed the active release. It usually is on the first page of the history."""
    newest = (
        next((activation for activation in shown if activation.kind in SWITCHES), None) if shown.number == 1 else None
    )
    return newest or queries.history(pipeline).filter(kind__in=SWITCHES).first()


def _people(
    pipeline: Pipeline, activated: Activation | None, shown: Iterable[Activation]
) -> Mapping[Acted, str | None]:
    """Return the people behind the newest switch, and behind the activations and votes that are shown."""
    acted = [(activation.actor, activation.activated_at) for activation in (activated, *shown) if activation]
    for activation in shown:
        votes = activation.request.counted_votes if activation.request else ()
        acted += [(vote.actor, vote.voted_at) for vote in votes]
    return people_behind(pipeline.tenant, acted)


def _trust(pipeline: Pipeline) -> trust.Trust | None:
    if pipeline.activation is None:
        return None
    pipeline.activation.release.pipeline = pipeline  # the same row, which is not read again
    return trust.trust_of(pipeline.activation.release)
