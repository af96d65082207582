"""The sidebar of the admin. It contains only what the user may see."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import get_script_prefix, reverse
from django.utils.safestring import SafeString

from executions.models import IS_QUESTION, Interaction
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
                Listed("executions_hold", "Pauses", "pause_circle"),
                Listed("executions_campaign", "Campaigns", "campaign"),
                Listed("executions_schedule", "Schedules", "event_repeat"),
            ),
            (Listed("executions_interaction", "Questions", "rate_review"),),
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
_LISTS: Final = {page.model: page for _, entries in MENU for entry in entries for page in entry}
_TABBED: Final = {page.model: entry for _, entries in MENU for entry in entries if len(entry) > 1 for page in entry}
_NEEDS: Final = frozenset(page.needs for page in _LISTS.values())
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


def visible_lists(request: HttpRequest) -> list[tuple[Listed, str]]:
    """Return the lists that the user may see, with their addresses."""
    needs, prefix = _shown_needs(request), get_script_prefix()
    return [(page, _list_of(page.model, prefix)) for page in _LISTS.values() if page.needs in needs]


def _current(request: HttpRequest) -> str:
    """Return the model of the list that has the current page, such as `releases_release`; else OVERVIEW or "".

    The pages of a person's own account are below the users, but belong to no list.
    """
    overview = _overview(get_script_prefix())
    if request.path == overview:
        return OVERVIEW
    app, _, rest = request.path.removeprefix(overview).partition("/")
    model = f"{app}_{rest.partition('/')[0]}"
    page = request.resolver_match.url_name if request.resolver_match else None
    return model if model in _LISTS and (page is None or page.startswith(model)) else ""


def _shown_needs(request: HttpRequest) -> frozenset[Scope | None]:
    """Return what lists may need, so that the user sees them. Superusers see those that need no scope to read."""
    if request.user.is_superuser:
        return _NEEDS if holds_anywhere(request, Scope.READ) else _NEEDS - {Scope.READ}
    return frozenset(needs for needs in _NEEDS if needs is not None and holds_anywhere(request, needs))


def _questions(request: HttpRequest) -> str:
    """Return how many questions are open in the tenants in which the user answers questions; "" if there are none."""
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
        shown = [lists for entry in entries if (lists := [page for page in entry if page.needs in needs])]
        if shown:
            groups.append(Group(title, tuple(_entry(prefix, current, lists, questions) for lists in shown)))
    return tuple(groups)


def _entry(prefix: str, current: str, lists: Sequence[Listed], questions: str) -> Link:
    """Return the link to the first of the lists. It is active on the pages of all of them."""
    first = lists[0]
    is_active = any(page.model == current for page in lists)
    badge = questions if first.model == "executions_interaction" else ""
    return Link(first.title, first.icon, _list_of(first.model, prefix), is_active, badge)


@lru_cache(maxsize=256)
def _tabs(prefix: str, current: str, needs: frozenset[Scope | None]) -> tuple[Link, ...]:
    lists = [page for page in _TABBED[current] if page.needs in needs]
    return tuple(Link(page.title, page.icon, _list_of(page.model, prefix), page.model == current) for page in lists)


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
