"""The command palette of the admin: finds pages, acts, pipelines, releases, executions and their questions.

It contains only what the user may see. It replaces unfold's palette, which keeps results for minutes, ignores the case
of keys and versions, lists models first, and needs scripts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse

from coordinator.navigation import visible_lists
from executions.models import read_business_keys
from executions.search import named
from foundation.database.bounded import time_limit
from foundation.errors import QueryTooSlow
from releases import pointer
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy.access import tenants_of
from tenancy.console.base import held_in, holds_anywhere
from tenancy.models import Tenant
from tenancy.roles import Scope

_SHOWN_OF_PIPELINE: Final = ("pipeline_id", "tenant__slug", "activation__previous")
_SHOWN_OF_RELEASE: Final = (
    "release_version",
    "status",
    "pipeline__pipeline_id",
    "pipeline__tenant__slug",
    "pipeline__activation__release_id",
)
EACH: Final = 6
"""How many results of a kind are returned."""
LONGEST_TERM: Final = 300
SHORTEST_KEY: Final = 2
SECONDS: Final = 1
VERBS: Final = frozenset({"activate", "pause", "compare", "roll", "back", "to", "of", "release", "pipeline"})
"""Words of acts. They do not restrict the search, so that "activate 2.0 of orders" finds the act."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result: a title, what it is, and its page."""

    title: str
    kind: str
    address: str
    icon: str


def search(request: HttpRequest, *, seconds: float = SECONDS) -> HttpResponse:
    """Show what `q` finds: as a page, or with `part` only the list of results for the dialog.

    The search for executions has a time limit of `seconds`.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    term = request.GET.get("q", "").strip()[:LONGEST_TERM]
    context = {"term": term, **_find(request, term, seconds)}
    if request.GET.get("part"):
        return TemplateResponse(request, "palette/results.html", context)
    request.current_app = admin.site.name
    frame = {**admin.site.each_context(request), "title": "Search"}
    return TemplateResponse(request, "palette/search.html", {**frame, **context})


def _find(request: HttpRequest, term: str, seconds: float) -> dict[str, object]:
    """Return as `found` what the user may see: executions first, because their keys are typed to find them.

    `too_slow` is True if the search for executions reached its time limit, so that there may be some.
    """
    executions: list[Found] = []
    too_slow = False
    tenants = list(tenants_of(request.user))
    try:
        executions = _executions(tenants, term, seconds)
    except QueryTooSlow:
        too_slow = True
    words = term.casefold().split()
    return {
        "found": [*executions, *_pipelines_and_releases(request, tenants, words), *_pages(request, words)],
        "too_slow": too_slow,
    }


def _executions(tenants: Sequence[Tenant], term: str, seconds: float) -> list[Found]:
    """Return at most EACH executions of the tenants, each with its open question.

    The term is their key or a value of their input, or it begins their business key, key or id. Raises `QueryTooSlow`
    if the search takes longer than `seconds`.
    """
    if len(term) < SHORTEST_KEY or "\0" in term:
        return []
    with time_limit(seconds):
        shown = named(tenants, term, EACH)
    read_business_keys(shown)
    return [entry for row in shown for entry in _execution(row)]


def _execution(execution: Any) -> Iterator[Found]:
    is_original = execution.business_key == execution.execution_key
    kind = f"{execution.shown_status}, {execution.pipeline_id} {execution.release_version}, {execution.tenant.slug}"
    kind = kind if is_original else f"resubmission, {kind}"
    kind = f"{execution.found_by}, {kind}" if execution.found_by else kind
    address = _page("executions_execution_change", execution.pk)
    yield Found(f"Execution {execution.business_key}", kind, address, "play_circle")
    if execution.question is not None:
        address = _page("executions_interaction_change", execution.question)
        yield Found(f"Question of {execution.business_key}", kind, address, "rate_review")


def _pipelines_and_releases(request: HttpRequest, tenants: Sequence[Tenant], words: list[str]) -> list[Found]:
    """Return pipelines and releases of the tenants with the acts on them that the user may do.

    Each word, without VERBS, is in the pipeline's id or in the version.
    """
    words = [word for word in words if word not in VERBS]
    if not words:
        return []
    ids = [tenant.pk for tenant in tenants]
    pipelines = Pipeline.objects.filter(_all(words, "pipeline_id"), tenant__in=ids).order_by("pipeline_id", "pk")
    pipelines = pipelines.select_related("tenant", "activation").only(*_SHOWN_OF_PIPELINE)
    releases = Release.objects.filter(_all(words, "pipeline__pipeline_id", "release_version"), pipeline__tenant__in=ids)
    releases = releases.exclude(status=Status.REJECTED).select_related("pipeline__tenant", "pipeline__activation")
    newest = releases.only(*_SHOWN_OF_RELEASE).order_by("-pk")
    return [
        *(entry for pipeline in pipelines[:EACH] for entry in _pipeline(request, pipeline)),
        *(entry for release in newest[:EACH] for entry in _release(request, release)),
    ]


def _all(words: list[str], *fields: str) -> Q:
    """Return the condition that each word is in one of the fields."""
    return reduce(and_, (reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)) for word in words))


def _holds(request: HttpRequest, scope: Scope, tenant_id: int) -> bool:
    ids = held_in(request, scope)
    return ids is None or tenant_id in ids


def _pipeline(request: HttpRequest, pipeline: Pipeline) -> Iterator[Found]:
    name, tenant = pipeline.pipeline_id, pipeline.tenant.slug
    yield Found(name, f"Pipeline of {tenant}", _page("releases_pipeline_change", pipeline.pk), "account_tree")
    if pointer.has_earlier(pipeline) and _holds(request, Scope.ROLL_BACK, pipeline.tenant_id):
        yield Found(f"Roll back {name}", f"Act in {tenant}", _page("releases_pipeline_rollback", pipeline.pk), "undo")
    if _holds(request, Scope.ACTIVATE, pipeline.tenant_id):
        address = _page("executions_hold_pipeline_pause", pipeline.pk)
        yield Found(f"Pause {name}", f"Act in {tenant}", address, "pause_circle")


def _release(request: HttpRequest, release: Release) -> Iterator[Found]:
    pipeline = release.pipeline
    name, tenant = f"{release.release_version} of {pipeline.pipeline_id}", pipeline.tenant.slug
    address = _page("releases_release_change", release.pk)
    yield Found(f"Release {name}", f"{release.status} in {tenant}", address, "inventory_2")
    may_activate = _holds(request, Scope.ACTIVATE, pipeline.tenant_id)
    if may_activate and release.status == Status.REGISTERED and not release.is_active:
        address = _page("releases_release_activate", release.pk)
        yield Found(f"Activate {name}", f"Act in {tenant}", address, "rocket_launch")


def _pages(request: HttpRequest, words: list[str]) -> list[Found]:
    """Return the pages and acts that the user may open whose titles contain each of the words, in any case."""
    return [page for page in _all_pages(request) if all(word in page.title.casefold() for word in words)]


def _all_pages(request: HttpRequest) -> Iterator[Found]:
    """Yield the pages of the console, and the acts that concern no particular row."""
    yield Found("Overview", "Page", _page("index"), "dashboard")
    for page, address in visible_lists(request):
        yield Found(page.title, "Page", address, page.icon)
    if holds_anywhere(request, Scope.READ):
        yield Found("What was active?", "Page", _page("releases_pipeline_active"), "history")
        yield Found("Fleet", "Page", _page("executions_worker_fleet"), "dns")
    if holds_anywhere(request, Scope.REGISTER):
        yield Found("Upload a release", "Act", _page("releases_release_upload"), "upload")
    if holds_anywhere(request, Scope.OPERATE):
        yield Found("Start a campaign", "Act", _page("executions_campaign_start"), "campaign")
    if holds_anywhere(request, Scope.ADMINISTER):
        yield Found("Issue an API token", "Act", _page("tenancy_apitoken_add"), "key")
        yield Found("Add a member", "Act", _page("tenancy_membership_add"), "person_add")
    yield Found("My account", "Page", _page("account"), "account_circle")
    yield Found("Change your password", "Act", _page("password_change"), "password")
    yield Found("Log out everywhere", "Act", _page("log_out_everywhere"), "logout")


def _page(view: str, *arguments: object) -> str:
    return reverse(f"admin:{view}", args=arguments)
