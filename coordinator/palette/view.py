"""The page of the palette, and the part with the results that its dialog loads."""

from typing import Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse

from coordinator.palette import executions, pages, releases
from coordinator.palette.found import Found
from foundation.errors import QueryTooSlow

LONGEST: Final = 300


def search(request: HttpRequest) -> HttpResponse:
    """Show what `q` finds: as a page, or with `part` only the list of results for the dialog."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    term = request.GET.get("q", "").strip()[:LONGEST]
    context = {"term": term, **find(request, term)}
    if request.GET.get("part"):
        return TemplateResponse(request, "palette/results.html", context)
    request.current_app = admin.site.name
    frame = {**admin.site.each_context(request), "title": "Search"}
    return TemplateResponse(request, "palette/search.html", {**frame, **context})


def find(request: HttpRequest, term: str) -> dict[str, object]:
    """Return as `found` what the user may see: executions first, because their keys are typed to find them.

    `too_slow` is True if the search for executions reached its time limit, so that there may be some.
    """
    if not term:
        return {"found": pages.find(request, ""), "too_slow": False}
    found: list[Found] = []
    try:
        found += executions.find(request, term)
        too_slow = False
    except QueryTooSlow:
        too_slow = True
    found += [*releases.find(request, term), *pages.find(request, term)]
    return {"found": found, "too_slow": too_slow}
