"""The page that compares two releases of a pipeline."""

from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from governance.comparison import comparison
from releases import queries
from releases.errors import ReleaseUnknown
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy.admin.base import READ, ReadOnlyAdmin, serves
from wire.comparison.differences import Area, Difference, Impact
from wire.identity import is_segment

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
    active = pipeline.activation.release if pipeline.activation else None
    after = _named(pipeline, request.GET.get("to")) or _newest(pipeline)
    before = _named(pipeline, request.GET.get("from")) or _other(pipeline, after) or active
    found = comparison.differences(before, after) if before and after else ()
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
        **context_of(found),
    )


def context_of(differences: Iterable[Difference]) -> dict[str, Any]:
    """Return the context of `releases/differences.html`: the areas with their rows, and a count for each impact."""
    found = list(differences)
    by_area: dict[str, list[dict[str, Any]]] = {title: [] for title in TITLES.values()}
    for each in found:
        by_area[TITLES[each.area]].append({"difference": each, "variant": VARIANTS[each.impact]})
    counts = [(impact, VARIANTS[impact], sum(each.impact is impact for each in found)) for impact in Impact]
    return {
        "differences": found,
        "difference_sections": [{"title": title, "rows": rows} for title, rows in by_area.items() if rows],
        "difference_counts": [count for count in counts if count[2]],
    }


def _named(pipeline: Pipeline, version: str | None) -> Release | None:
    if not version:
        return None
    if not is_segment(version):
        raise Http404
    try:
        return queries.release(pipeline, version)
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
