"""The sidebar and the command palette of the admin. Both contain only what the user may see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_, or_
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, reverse
from django.utils.safestring import SafeString

from executions.models import IS_QUESTION, Execution, Interaction, read_business_keys
from executions.search import Search, matching
from foundation.database.bounded import time_limit
from foundation.errors import QueryTooSlow
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy.access import tenants_of
from tenancy.console.base import held_in, holds_anywhere
from tenancy.models import Tenant
from tenancy.roles import Scope

MAX_COUNTED: Final = 999
"""The largest number of open questions that is counted."""


class Listed(NamedTuple):
    """A list of the console. `needs` is the scope that shows it; None shows it to superusers only."""

    model: str
    title: str
    icon: str
    needs: Scope | None = Scope.READ


# The groups of the menu. An entry is one list, or several lists with tabs. It has the title of the first one.
MENU: Final = (
    (
        "Releases",
        (
            (Listed("releases_pipeline", "Pipelines", "account_tree"),),
            (
                Listed("releases_release", "Releases", "inventory_2"),
                Listed("executions_smoketest", "Smoke tests", "science"),
                Listed("releases_trustedkey", "Trusted keys", "verified_user"),
            ),
            (Listed("releases_activationrequest", "Activation requests", "how_to_vote"),),
        ),
    ),
    (
        "Executions",
        (
            (
                Listed("executions_execution", "Executions", "play_circle"),
                Listed("executions_hold", "Paused", "pause_circle"),
                Listed("executions_campaign", "Campaigns", "campaign"),
                Listed("executions_schedule", "Schedules", "event_repeat"),
            ),
            (Listed("executions_interaction", "Waiting for answers", "rate_review"),),
            (Listed("executions_failuregroup", "Failures", "report"),),
            (Listed("executions_worker", "Workers", "memory"),),
            (
                Listed("alerts_alert", "Alerts", "notifications"),
                Listed("alerts_alertrule", "Alert rules", "add_alert"),
                Listed("alerts_alertchannel", "Alert channels", "send"),
            ),
        ),
    ),
    (
        "Administration",
        (
            (
                Listed("tenancy_tenant", "Tenants", "apartment", Scope.ADMINISTER),
                Listed("coordinator_process", "Status", "monitor_heart", None),
            ),
            (
                Listed("tenancy_membership", "Members", "group", Scope.AUDIT),
                Listed("tenancy_invitation", "Invitations", "forward_to_inbox", Scope.AUDIT),
                Listed("tenancy_apitoken", "API tokens", "key", Scope.AUDIT),
                Listed("auth_user", "Users", "person", None),
            ),
            (Listed("tenancy_auditentry", "Audit log", "receipt_long", Scope.AUDIT),),
        ),
    ),
)
_LISTS: Final = {each.model: each for _, entries in MENU for entry in entries for each in entry}
_TABBED: Final = {each.model: entry for _, entries in MENU for entry in entries if len(entry) > 1 for each in entry}
_NEEDS: Final = frozenset(each.needs for each in _LISTS.values())
OVERVIEW: Final = "overview"


class Link(NamedTuple):
    """A link of the sidebar. It is active on the page that it leads to."""

    title: str
    icon: str
    address: str
    active: bool
    badge: str = ""


class Group(NamedTuple):
    """Links with a heading, which may be empty."""

    title: str
    links: tuple[Link, ...]


def navigation(request: HttpRequest) -> tuple[Group, ...]:
    """Return the groups of links that the user may see. The link of the current page is active."""
    return _groups(get_script_prefix(), _current(request), _shown_needs(request), _questions(request))


def sidebar(request: HttpRequest) -> SafeString:
    """Return the navigation as HTML, for the frame of each page."""
    return _drawn(get_script_prefix(), _current(request), _shown_needs(request), _questions(request))


def tabs(request: HttpRequest) -> tuple[Link, ...]:
    """Return the lists that share the menu entry of the current list; none on other pages."""
    current, prefix = _current(request), get_script_prefix()
    if current not in _TABBED or request.path != _list_of(current, prefix):
        return ()
    return _tabs(prefix, current, _shown_needs(request))


def _current(request: HttpRequest) -> str:
    """Return the model of the list that has the current page, such as `releases_release`; else OVERVIEW or ""."""
    overview = _overview(get_script_prefix())
    if request.path == overview:
        return OVERVIEW
    app, _, rest = request.path.removeprefix(overview).partition("/")
    model = f"{app}_{rest.partition('/')[0]}"
    return model if model in _LISTS else ""


def _shown_needs(request: HttpRequest) -> frozenset[Scope | None]:
    """Return what lists may need, so that the user sees them. Superusers see those that need no scope to read."""
    if request.user.is_superuser:
        return _NEEDS if holds_anywhere(request, Scope.READ) else _NEEDS - {Scope.READ}
    return frozenset(needs for needs in _NEEDS if needs is not None and holds_anywhere(request, needs))


def _questions(request: HttpRequest) -> str:
    """Return the number of open questions that the user may answer; "" if there are none."""
    waiting = waiting_count(request, Scope.ANSWER) if holds_anywhere(request, Scope.ANSWER) else 0
    return "" if not waiting else f"{waiting}" if waiting <= MAX_COUNTED else f"{MAX_COUNTED}+"


@lru_cache(maxsize=256)
def _drawn(prefix: str, current: str, needs: frozenset[Scope | None], questions: str) -> SafeString:
    """Draw the sidebar. Pages show few different ones."""
    return render_to_string("parts/navigation.html", {"groups": _groups(prefix, current, needs, questions)})


def _groups(prefix: str, current: str, needs: frozenset[Scope | None], questions: str) -> tuple[Group, ...]:
    overview = Link("Overview", "dashboard", _overview(prefix), active=current == OVERVIEW)
    groups = [Group("", (overview,))]
    for title, entries in MENU:
        shown = [lists for entry in entries if (lists := [each for each in entry if each.needs in needs])]
        if shown:
            groups.append(Group(title, tuple(_entry(prefix, current, lists, questions) for lists in shown)))
    return tuple(groups)


def _entry(prefix: str, current: str, lists: Sequence[Listed], questions: str) -> Link:
    """Return the link to the first of the lists. It is active on the pages of all of them."""
    first = lists[0]
    is_active = any(each.model == current for each in lists)
    badge = questions if first.model == "executions_interaction" else ""
    return Link(first.title, first.icon, _list_of(first.model, prefix), is_active, badge)


@lru_cache(maxsize=256)
def _tabs(prefix: str, current: str, needs: frozenset[Scope | None]) -> tuple[Link, ...]:
    lists = [each for each in _TABBED[current] if each.needs in needs]
    return tuple(Link(each.title, each.icon, _list_of(each.model, prefix), each.model == current) for each in lists)


def waiting_count(request: HttpRequest, scope: Scope) -> int:
    """Return how many questions are open in the tenants in which the user holds `scope`, at most MAX_COUNTED + 1.

    Asks the database once per request for the same tenants.
    """
    ids = held_in(request, scope)
    known: dict[Any, int] = request.__dict__.setdefault("waiting_counts", {})
    tenants = None if ids is None else frozenset(ids)
    if tenants not in known:
        rows = Interaction.objects.filter(IS_QUESTION, tenant__in=Tenant.objects.order_by() if ids is None else ids)
        known[tenants] = rows.order_by()[: MAX_COUNTED + 1].count()
    return known[tenants]


@lru_cache(maxsize=256)
def _list_of(model: str, prefix: str) -> str:
    """Return the address of a list. All addresses begin with `prefix`, which never changes in most installations."""
    return reverse(f"admin:{model}_changelist")


@lru_cache(maxsize=256)
def _overview(prefix: str) -> str:
    """Return the address of the overview, with which those of all lists begin."""
    return reverse("admin:index")


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
"""The time limit of the search for executions."""
VERBS: Final = frozenset({"activate", "pause", "compare", "roll", "back", "to", "of", "release", "pipeline"})
"""Words of acts. They do not restrict the search, so that "activate 2.0 of orders" finds the act."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result: a title, what it is, and its page."""

    title: str
    kind: str
    address: str
    icon: str


def search(request: HttpRequest) -> HttpResponse:
    """Show what `q` finds: as a page, or with `part` only the list of results for the dialog."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    term = request.GET.get("q", "").strip()[:LONGEST_TERM]
    context = {"term": term, **_find(request, term)}
    if request.GET.get("part"):
        return TemplateResponse(request, "palette/results.html", context)
    request.current_app = admin.site.name
    frame = {**admin.site.each_context(request), "title": "Search"}
    return TemplateResponse(request, "palette/search.html", {**frame, **context})


def _find(request: HttpRequest, term: str) -> dict[str, object]:
    """Return as `found` what the user may see: executions first, because their keys are typed to find them.

    `too_slow` is True if the search for executions reached its time limit, so that there may be some.
    """
    executions: list[Found] = []
    too_slow = False
    try:
        executions = _executions(request, term)
    except QueryTooSlow:
        too_slow = True
    words = term.casefold().split()
    return {
        "found": [*executions, *_pipelines_and_releases(request, words), *_pages(request, words)],
        "too_slow": too_slow,
    }


def _executions(request: HttpRequest, term: str) -> list[Found]:
    """Return at most EACH executions of the user's tenants: those whose key is the term, and then the newest.

    The term is the beginning of their business key, idempotency key or id, as in the list of executions. Raises
    `QueryTooSlow` if the search takes longer than SECONDS.
    """
    if len(term) < SHORTEST_KEY or "\0" in term:
        return []
    with time_limit(SECONDS):
        matches = matching(list(tenants_of(request.user)), Search(text=term))
        found = [*matches.all().filter(execution_key=term)[:EACH], *matches.newest(EACH)]
    shown = list(dict.fromkeys(found))[:EACH]
    read_business_keys(shown)
    return [_execution(each) for each in shown]


def _execution(execution: Execution) -> Found:
    title = f"Execution {execution.business_key}"
    is_original = execution.business_key == execution.execution_key
    kind = f"{execution.shown_status}, {execution.pipeline_id} {execution.release_version}, {execution.tenant.slug}"
    kind = kind if is_original else f"resubmission, {kind}"
    return Found(title, kind, _page("executions_execution_change", execution.pk), "play_circle")


def _pipelines_and_releases(request: HttpRequest, words: list[str]) -> list[Found]:
    """Return pipelines and releases with the acts on them that the user may do.

    Each word, without VERBS, is in the pipeline's id or in the version.
    """
    words = [word for word in words if word not in VERBS]
    if not words:
        return []
    tenants = list(tenants_of(request.user).values_list("pk", flat=True))
    activating = set(tenants_of(request.user, Scope.ACTIVATE).values_list("pk", flat=True))
    pipelines = Pipeline.objects.filter(_all(words, "pipeline_id"), tenant__in=tenants).order_by("pipeline_id", "pk")
    pipelines = pipelines.select_related("tenant").only("pipeline_id", "tenant__slug")
    releases = Release.objects.filter(
        _all(words, "pipeline__pipeline_id", "release_version"), pipeline__tenant__in=tenants
    )
    releases = releases.exclude(status=Status.REJECTED).select_related("pipeline__tenant", "pipeline__activation")
    newest = releases.only(*_SHOWN_OF_RELEASE).order_by("-pk")
    return [
        *(found for each in pipelines[:EACH] for found in _pipeline(each, activating)),
        *(found for each in newest[:EACH] for found in _release(each, activating)),
    ]


def _all(words: list[str], *fields: str) -> Q:
    """Return the condition that each word is in one of the fields."""
    return reduce(and_, (reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)) for word in words))


def _pipeline(pipeline: Pipeline, activating: set[int]) -> Iterator[Found]:
    name, tenant = pipeline.pipeline_id, pipeline.tenant.slug
    yield Found(name, f"Pipeline of {tenant}", _page("releases_pipeline_change", pipeline.pk), "account_tree")
    if pipeline.tenant_id in activating:
        address = _page("executions_hold_pipeline_pause", pipeline.pk)
        yield Found(f"Pause {name}", f"Act in {tenant}", address, "pause_circle")


def _release(release: Release, activating: set[int]) -> Iterator[Found]:
    pipeline = release.pipeline
    name, tenant = f"{release.release_version} of {pipeline.pipeline_id}", pipeline.tenant.slug
    address = _page("releases_release_change", release.pk)
    yield Found(f"Release {name}", f"{release.status} in {tenant}", address, "inventory_2")
    if release.status == Status.REGISTERED and not release.is_active and pipeline.tenant_id in activating:
        address = _page("releases_release_activate", release.pk)
        yield Found(f"Activate {name}", f"Act in {tenant}", address, "rocket_launch")


def _pages(request: HttpRequest, words: list[str]) -> list[Found]:
    """Return the pages and acts that the user may open whose titles contain each of the words, in any case."""
    return [page for page in _all_pages(request) if all(word in page.title.casefold() for word in words)]


def _all_pages(request: HttpRequest) -> Iterator[Found]:
    """Yield the pages of the console, and the acts that concern no particular row."""
    yield Found("Overview", "Page", _page("index"), "dashboard")
    needs = _shown_needs(request)
    for each in _LISTS.values():
        if each.needs in needs:
            yield Found(each.title, "Page", _list_of(each.model, get_script_prefix()), each.icon)
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
