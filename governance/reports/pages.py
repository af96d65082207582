"""The page that compares two releases of a pipeline, and what pages say about an activation and about blockers."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from executions.search import searched
from governance.activation.gates import Verdict
from governance.reports import comparison
from governance.reports.preflight import Preflight
from governance.retirement.retirement import FAILURES, REQUESTS, STATUSES, Blocker, Kind, shown_count
from releases import queries
from releases.errors import ReleaseUnknown
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy.console.base import READ, ReadOnlyAdmin, serves
from wire.comparison.differences import Area, Difference, Impact

CHOICES_SHOWN = 200
VARIANTS = {
    Impact.BREAKING_FOR_CALLERS: "danger",
    Impact.BREAKING_FOR_PARKED_WORK: "warning",
    Impact.UNKNOWN: "info",
    Impact.COMPATIBLE: "success",
}
TITLES = {
    Area.STEP: "Steps",
    Area.TYPE: "Types",
    Area.CAPABILITY: "Capabilities",
    Area.POLICY: "Policies",
    Area.ARTIFACT: "Artifacts",
    Area.ENVIRONMENT: "Environment",
    Area.SIGNATURE: "Signatures",
    Area.PROVENANCE: "Provenance",
    Area.SBOM: "Packages (SBOM)",
}


@serves("<int:object_id>/compare/", methods=READ)
def page(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    """Show the differences between the releases that the query names as `from` and `to`.

    By default these are the active release and the registered one that was uploaded last. If they are the same, the
    former is the release that the active one replaced.
    """
    pipeline = queries.pipeline(pipeline.tenant, pipeline.pipeline_id)
    active = pipeline.active_release
    after = _named(pipeline, request.GET.get("to")) or _newest(pipeline)
    before = _named(pipeline, request.GET.get("from")) or _other(pipeline, after) or active
    differences = comparison.differences(before, after) if before and after else ()
    return pages.page(
        request,
        "releases/comparison.html",
        title="Compare releases",
        original=pipeline,
        pipeline=pipeline,
        active=active,
        before=before,
        after=after,
        versions=_versions(pipeline, before, after),
        **context_of(differences),
    )


def context_of(differences: Iterable[Difference]) -> dict[str, Any]:
    """Return the context of `releases/differences.html`: the areas with their rows, and a count for each impact."""
    listed = list(differences)
    by_area: dict[str, list[dict[str, Any]]] = {title: [] for title in TITLES.values()}
    for difference in listed:
        by_area[TITLES[difference.area]].append({"difference": difference, "variant": VARIANTS[difference.impact]})
    counts = [
        (impact, VARIANTS[impact], sum(difference.impact is impact for difference in listed)) for impact in Impact
    ]
    return {
        "differences": listed,
        "difference_sections": [{"title": title, "rows": rows} for title, rows in by_area.items() if rows],
        "difference_counts": [count for count in counts if count[2]],
    }


def _named(pipeline: Pipeline, version: str | None) -> Release | None:
    if not version:
        return None
    try:
        return comparison.named_release(pipeline, version)
    except ReleaseUnknown:
        raise Http404 from None


def _newest(pipeline: Pipeline) -> Release | None:
    try:
        return comparison.newest_release(pipeline)
    except ReleaseUnknown:
        return None


def _other(pipeline: Pipeline, release: Release | None) -> Release | None:
    """Return the active release, or the one that it replaced if it is `release`."""
    activation = pipeline.activation
    if activation is None:
        return None
    replaced = activation.previous if release and activation.release_id == release.pk else None
    return replaced or activation.release


def _versions(pipeline: Pipeline, *shown: Release | None) -> list[str]:
    """Return the versions to choose from, newest first: those of the newest releases, and those that are shown."""
    rows = pipeline.releases.exclude(status=Status.REJECTED).order_by("-id")
    versions = list(rows.values_list("release_version", flat=True)[:CHOICES_SHOWN])
    return list(dict.fromkeys([*versions, *(release.release_version for release in shown if release)]))


# --- what an activation would do, and what needs a release ---

LABELS = {
    Kind.ACTIVE: "Active release of its pipeline",
    Kind.APPROVAL: "Requests to activate it that collect votes",
    Kind.SCHEDULE: "Approved requests to activate it",
    Kind.GRADUAL: "Running gradual activation of its pipeline",
    Kind.SKEW_GRACE: "Open to callers that name it: the grace of the policy has not ended",
    Kind.QUEUED: "Queued executions",
    Kind.RUNNING: "Running executions",
    Kind.RETRYING: "Executions that wait for a retry",
    Kind.WAITING: "Executions that wait for an answer",
    Kind.FAILED: "Failures that could be re-driven (FAILED)",
    Kind.DEAD_LETTERED: "Failures that could be re-driven (DLQ)",
    Kind.CAMPAIGN: "Unfinished campaigns that would re-drive its executions",
}


SINGLE = {Kind.ACTIVE, Kind.GRADUAL, Kind.SKEW_GRACE}
"""The kinds that a release has or has not."""


def lines_of(release: Release, blockers: Iterable[Blocker]) -> list[dict[str, Any]]:
    """Return a line for each blocker of a release, with a link to exactly its rows. Its `text` is a count or "yes"."""
    return [
        {
            "label": LABELS[blocker.kind],
            "text": "yes" if blocker.kind in SINGLE else shown_count(blocker.count),
            "href": _link(release, blocker),
        }
        for blocker in blockers
    ]


def _link(release: Release, blocker: Blocker) -> str:
    if blocker.kind in SINGLE:
        return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])
    tenant = release.pipeline.tenant.slug
    if blocker.kind in REQUESTS:
        query = {"release": str(release.pk), "status": REQUESTS[blocker.kind]}
        return f"{reverse('admin:releases_activationrequest_changelist')}?{urlencode(query)}"
    if blocker.kind is Kind.CAMPAIGN:
        query = {"release": str(release.pk)}
        return f"{reverse('admin:executions_campaign_changelist')}?{urlencode(query)}"
    query = {
        "status": searched(STATUSES[blocker.kind]),
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": tenant,
        **({"smoke": "no"} if blocker.kind in FAILURES else {}),
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(query)}"


GATE_VARIANTS = {Verdict.MET: "success", Verdict.WARNING: "warning", Verdict.UNMET: "danger"}
ENDED = {*FAILURES, Kind.CAMPAIGN}


def preview(report: Preflight) -> dict[str, Any]:
    """Return the context of `executions/preflight.html`."""
    active, staying = report.active, sum(need.count for need in report.remaining if need.kind not in ENDED)
    return {
        "preflight": report,
        "gates": [(gate, GATE_VARIANTS[gate.verdict]) for gate in report.gates],
        "staying": shown_count(staying) if staying else "",
        "questions": shown_count(report.questions),
        "remaining": lines_of(active, report.remaining) if active else [],
        **context_of(report.differences),
    }
