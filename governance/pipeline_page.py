"""The page of a pipeline: its active release, policy, releases and activations."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError as ValidationFailed
from django.core.paginator import Page, Paginator
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse

from foundation import moments
from foundation.admin.columns import column
from foundation.errors import CoordinatorError
from governance import pipeline_sections, policy_page
from governance.activation import pages as activations
from governance.comparison import pages as comparison
from governance.gradual import pages as gradual_activations
from governance.sections import open_holds
from releases import history, queries
from releases.admin.uploads import ListWithUpload
from releases.api.history import export
from releases.errors import NoneActiveThen, ProvenanceKeyMissing
from releases.models import SWITCHES, Activation, Pipeline, Release
from releases.trust import statement_key, trust
from tenancy.admin.base import READ, serves
from tenancy.admin.lists import TenantFilter, text, time
from tenancy.roles import Scope

NEWEST_RELEASES = 50
HISTORY_PAGE = 25


@admin.register(Pipeline)
class PipelineAdmin(ListWithUpload):
    list_display = ("pipeline_id", "tenant", "active_release", "since", "release_count")
    list_select_related = ("tenant", "activation__release")
    list_filter = (TenantFilter,)
    search_fields = ("pipeline_id",)
    search_help_text = "Search by pipeline id"
    empty = "The first release of a pipeline creates it: upload one."
    ordering = ("tenant__slug", "pipeline_id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        switches = Activation.objects.filter(pipeline=OuterRef("pk"), kind__in=SWITCHES).order_by("-sequence")
        rows: QuerySet[Pipeline] = super().get_queryset(request)
        return rows.annotate(
            release_count=Count("releases"), active_since=Subquery(switches.values("activated_at")[:1])
        )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Pipeline | None:
        """Return the pipeline with all that its page shows of it, in one query."""
        try:
            row = super().get_queryset(request).filter(pk=Pipeline._meta.pk.to_python(object_id)).only("pk")
            return queries.with_activation(Pipeline.objects.filter(pk__in=row)).first()
        except (ValidationFailed, ValueError):
            return None

    @column("Active release", empty="none yet")
    def active_release(self, pipeline: Pipeline) -> str | None:
        return pipeline.activation.release.release_version if pipeline.activation else None

    since = time("Active since", "active_since", empty="-")
    release_count = text("Releases", "release_count", ordering="release_count")

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
        releases = list(pipeline.releases.order_by("-id")[: NEWEST_RELEASES + 1])
        return self.page(
            request,
            "releases/pipeline.html",
            title=pipeline.pipeline_id,
            original=pipeline,
            pipeline=pipeline,
            active=pipeline.activation,
            activated=_newest_switch(pipeline, shown),
            trust=_trust(pipeline),
            history=shown,
            formerly_active=_formerly_active(pipeline, shown, releases),
            is_signed=statement_key.is_configured(),
            **_active_then(pipeline, request.GET.get("at", "").strip()),
            **activations.rollback_offered(self, request, pipeline),
            **gradual_activations.shown(self, request, pipeline),
            releases=releases[:NEWEST_RELEASES],
            more_releases=len(releases) > NEWEST_RELEASES,
            may_activate=self.may(request, Scope.ACTIVATE, pipeline),
            holds=open_holds(pipeline),
            sections=[pipeline_sections.health(pipeline), pipeline_sections.drift_of(pipeline)],
            policy=policy_page.shown(pipeline),
            may_administer=self.may(request, Scope.ADMINISTER, pipeline),
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
        return {"asked_at": at, "active_then": history.active_at(pipeline, moments.read_time(at))}
    except (ValueError, OverflowError):
        return {"asked_at": at, "none_then": f"It {moments.TIME_RULE}."}
    except CoordinatorError as error:
        return {"asked_at": at, "none_then": error.detail}


def _history(pipeline: Pipeline) -> "Paginator[Activation]":
    """Return the pages of the history. The sequence of the newest activation is their number: it has no gaps."""
    pages = Paginator(queries.history(pipeline), HISTORY_PAGE)
    pages.count = pipeline.activation.sequence if pipeline.activation else 0
    return pages


def _formerly_active(pipeline: Pipeline, shown: "Page[Activation]", releases: Sequence[Release]) -> set[int]:
    """Return which of `releases` were activated. A history of one page is enough to tell."""
    if shown.paginator.num_pages == 1:
        return {each.release_id for each in shown}
    return set(pipeline.activations.filter(release__in=releases).values_list("release", flat=True))


def _newest_switch(pipeline: Pipeline, shown: "Page[Activation]") -> Activation | None:
    """Return the newest activation that changed the active release. It usually is on the first page of the history."""
    found = next((each for each in shown if each.kind in SWITCHES), None) if shown.number == 1 else None
    return found or queries.history(pipeline).filter(kind__in=SWITCHES).first()


def _trust(pipeline: Pipeline) -> trust.Trust | None:
    """Return the trust in the active release. None if no release is active."""
    if pipeline.activation is None:
        return None
    pipeline.activation.release.pipeline = pipeline  # the same row, which is not read again
    return trust.of(pipeline.activation.release)
