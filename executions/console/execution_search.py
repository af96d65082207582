"""The search of the list of executions: what its address asks for, the rows that match, and saved views."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from executions import columns
from executions.console.payloads import tenants_shown
from executions.models import Execution, read_business_keys
from executions.search import PARAMETERS, Matches, Search, matching, parse
from executions.search_values import PREFIX, declared
from foundation.admin.columns import moment
from foundation.errors import CoordinatorError, InvalidRequest, NotFound, QueryTooSlow
from releases.models import Release
from releases.pointer import opening
from tenancy import preferences
from tenancy.access import ScopeMissing, tenants_of
from tenancy.audit.acts import Act, Denied
from tenancy.console.base import POST, PRESERVED, ReadOnlyAdmin, serves
from tenancy.console.lists import BoundedList, LimitedList
from tenancy.models import SavedView, Tenant
from tenancy.roles import Scope
from wire.documents.search import SearchField

COLUMNS = "columns"
REMEMBERED = "execution_columns"
NARROWER = {"24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}
"""What a search that takes too long can be limited to."""
RELEASES_READ = 20
PAGING = {"p", "e"}
IGNORED = {*PAGING, "all", "o", "_facets", "_popup", "_to_field", "_source_model"}
"""Parameters of every list of the admin."""


def tidy_query(query: QueryDict) -> str:
    """Return the query without empty parameters, each once, and with the columns in one parameter."""
    tidy = QueryDict(mutable=True)
    for name, values in query.lists():
        text = columns.SEPARATOR.join(filter(None, values)) if name == COLUMNS else values[-1]
        if text.strip():
            tidy[name] = text
    return tidy.urlencode()


class SearchRequest:
    """What the address of the list asks for. If it is invalid, `problem` says why, and nothing matches."""

    def __init__(self, request: HttpRequest) -> None:
        assert isinstance(request.user, User)  # noqa: S101 - the admin shows nothing to others
        self.person: User = request.user
        self.query = {name: str(text) for name, text in request.GET.items() if name not in IGNORED}
        self.values = {name: self.query.get(name, "") for name in PARAMETERS}
        self.search = Search()
        self.problem: CoordinatorError | None = None
        self.columns = self._default_columns(request.session.get(REMEMBERED, ""))
        try:
            if COLUMNS in self.query:
                self.columns = columns.chosen(self.query[COLUMNS].split(columns.SEPARATOR))
                remembered = columns.SEPARATOR.join(self.columns)
                if request.session.get(REMEMBERED) != remembered:
                    request.session[REMEMBERED] = remembered
            conditions = {name: text for name, text in self.query.items() if name != COLUMNS}
            if len(self.tenants) < 2:
                conditions.pop("tenant", None)  # such a person has no filter by tenant
            self.search = parse(conditions, now=timezone.now())
            if COLUMNS not in self.query:
                self.columns += tuple(f"{PREFIX}{field.name}" for field in self.declared)
        except InvalidRequest as problem:
            self.problem = problem

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """Return the search of a request, which is read once."""
        search: Self = request.__dict__.setdefault("execution_search", None) or cls(request)
        request.__dict__["execution_search"] = search
        return search

    @cached_property
    def tenants(self) -> list[Tenant]:
        return list(tenants_of(self.person))

    @cached_property
    def operated(self) -> list[Tenant]:
        """The tenants in which the person may operate."""
        return list(tenants_of(self.person, Scope.OPERATE))

    @cached_property
    def declared(self) -> tuple[SearchField, ...]:
        """The fields that the pipeline of the search declares; none without a pipeline."""
        pipeline = self.search.pipeline_id
        return () if pipeline is None else declared([tenant.pk for tenant in self.tenants], pipeline)

    @property
    def query_string(self) -> str:
        return urlencode(self.query)

    @property
    def filter_count(self) -> int:
        return sum(bool(text.strip()) for name, text in self.query.items() if name not in ("q", COLUMNS))

    @property
    def narrower(self) -> list[tuple[str, str]]:
        """If the search takes too long: the query and the name of each period to which it can be limited."""
        if not isinstance(self.problem, QueryTooSlow) or self.values["since"] or self.values["until"]:
            return []
        periods = [({"since": since}, name) for since, name in NARROWER.items()]
        if replaced := self._replaced_at():
            periods.append(
                ({"until": replaced.isoformat()}, f"before {moment(replaced)}, when the release was replaced")
            )
        return [(urlencode({**self.query, **period}), name) for period, name in periods]

    def _replaced_at(self) -> datetime | None:
        """Return when the release of the search was closed to submissions; None if it is open or unknown."""
        version, pipeline = self.search.release_version, self.search.pipeline_id
        if version is None:
            return None
        releases = Release.objects.filter(pipeline__tenant__in=self.tenants, release_version=version)
        if pipeline is not None:
            releases = releases.filter(pipeline__pipeline_id=pipeline)
        openings = [opening(release) for release in releases.only("pk")[:RELEASES_READ]]
        ended = [opening.grace_ends for opening in openings if opening.grace_ends is not None]
        return max(ended, default=None) if not any(opening.is_open for opening in openings) else None

    @cached_property
    def matches(self) -> Matches:
        return matching(self.tenants, self.search, person=self.person)

    def rows(self) -> QuerySet[Execution]:
        return Execution.objects.none() if self.problem else self.matches.all()

    def newest(self, most: int) -> QuerySet[Execution]:
        return Execution.objects.none() if self.problem else self.matches.newest(most)

    def _default_columns(self, remembered: str) -> tuple[str, ...]:
        names: Iterable[str] = set(remembered.split(columns.SEPARATOR)) & columns.COLUMNS.keys()
        more = ("tenant",) if len(self.tenants) > 1 else ()
        return columns.chosen(names or (*columns.DEFAULT, *more))


class ExecutionList(BoundedList):
    """The rows of one page, and how many match. `requested.problem` says why the page is empty."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Execution]:
        self.requested = SearchRequest.of(request)
        self.filter_specs: list[Any] = []
        self.has_filters = False
        self.has_active_filters = self.requested.search != Search() or self.requested.problem is not None
        self.clear_all_filters_qs = "?"
        return Execution.objects.none()  # `rows_of_page` reads the rows, within the time limit

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.requested.problem = self.problem or self.requested.problem
        readable = tenants_shown(request)
        for row in self.result_list:
            row.address = self.address_of(row)
            row.message = row.error_message if row.tenant_id in readable else ""

    def rows_of_page(self) -> list[Execution]:
        self.queryset = self.requested.rows()
        last = self.page_num * self.list_per_page
        rows = list(self.requested.newest(last)[last - self.list_per_page : last])
        columns.read_values(rows, self.requested.columns)
        return rows

    def address_of(self, row: Execution) -> str:
        """Return the address of the page of an execution, which remembers the query of the list."""
        address = reverse("admin:executions_execution_change", args=[row.pk])
        query = self.get_query_string({"p": str(self.page_num)} if self.page_num > 1 else {}).removeprefix("?")
        return f"{address}?{urlencode({PRESERVED: query})}" if query else address


class RowsOfExecutions(LimitedList):
    """The rows of one page, each of an execution or of none. Reads the business keys of the executions."""

    def rows_of_page(self) -> list[Any]:
        rows = super().rows_of_page()
        read_business_keys([row.execution for row in rows if row.execution is not None])
        return rows


# --- saved views: the built-in ones, and those that people save and share ---

PAGE = SavedView.Page.EXECUTIONS
BUILT_IN = {
    "All": "",
    "Live": "status=live",
    "Failed in the last hour": "status=failed&ended=1h",
    "Waiting": "status=WAITING_EXTERNAL",
    "Mine": "by=me&since=7d",
}
"""The query of each built-in view."""


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to a view. `view_id` is the key of a saved view that the user may remove, or None."""

    name: str
    query: str
    current: bool = False
    shared_with: str = ""
    view_id: int | None = None


def tabs(requested: SearchRequest) -> list[Tab]:
    """Return the built-in views, and then those of the user and of the user's tenants. At most one is current.

    The current view has the query of the list. A built-in view is also current if only the columns differ.
    """
    operated = {tenant.pk for tenant in requested.operated}
    built_in = [Tab(name, query) for name, query in BUILT_IN.items()]
    saved = [
        Tab(
            view.name,
            view.query,
            shared_with=view.tenant.slug if view.tenant else "",
            view_id=view.pk if view.tenant_id is None or view.tenant_id in operated else None,
        )
        for view in preferences.views(requested.person, PAGE)
    ]
    conditions = {name: text for name, text in requested.query.items() if name != COLUMNS}
    same = [tab for tab in (*built_in, *saved) if QueryDict(tab.query).dict() == requested.query]
    alike = [tab for tab in built_in if QueryDict(tab.query).dict() == conditions]
    current = next(iter((*same, *alike)), None)
    return [replace(tab, current=tab is current) for tab in (*built_in, *saved)]


@serves("views/", Act.SAVED_VIEW_SAVE, methods=POST)
def save_view(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """Save the posted query under a name."""
    if not pages.has_view_permission(request):
        raise PermissionDenied
    query = _query_of(request)
    tenant = _tenant(request)
    person = SearchRequest.of(request).person
    try:
        _check(query)
        view = preferences.save_view(person, PAGE, request.POST.get("name", "").strip(), query, tenant=tenant)
    except ScopeMissing:
        raise Denied(Act.SAVED_VIEW_SAVE, tenant) from None
    except CoordinatorError as problem:
        messages.error(request, f"The view is not saved: {problem.detail}")
    else:
        messages.success(request, f"The view “{view.name}” is saved.")
    return redirect(_address(query))


@serves("views/<int:view_id>/remove/", Act.SAVED_VIEW_REMOVE, methods=("GET", "HEAD", *POST))
def remove_view(pages: ReadOnlyAdmin, request: HttpRequest, view_id: int) -> HttpResponse:
    """Ask for confirmation on GET, and remove the saved view on POST."""
    if not pages.has_view_permission(request):
        raise PermissionDenied
    find_or_remove = preferences.remove_view if request.method in POST else preferences.removable_view
    try:
        view = find_or_remove(SearchRequest.of(request).person, view_id)
    except NotFound:
        raise Http404 from None
    except ScopeMissing:
        raise Denied(Act.SAVED_VIEW_REMOVE, SavedView.objects.get(pk=view_id).tenant) from None
    if request.method not in POST:
        losers = f"All members of {view.tenant.slug} lose it" if view.tenant else "Only you have it"
        consequence = f"{losers}. The executions that it shows stay as they are."
        shown: dict[str, Any] = {"removed": view.name, "consequence": consequence, "back": _address(view.query)}
        return pages.page(request, "tenancy/remove.html", title="Remove the view", **shown)
    messages.success(request, f"The view “{view.name}” is removed.")
    return redirect(_address(""))


def _query_of(request: HttpRequest) -> str:
    query = QueryDict(request.POST.get("query", ""), mutable=True)
    for name in PAGING & query.keys():
        del query[name]
    return tidy_query(query)


def _check(query: str) -> None:
    """Raise `InvalidRequest` unless the query is one of the list."""
    values = QueryDict(query).dict()
    names = values.pop(COLUMNS, "")
    columns.chosen(filter(None, names.split(columns.SEPARATOR)))
    parse(values, now=timezone.now())


def _tenant(request: HttpRequest) -> Tenant | None:
    """Return the tenant to share the view with. Raises `Http404` if the user may not see it."""
    slug = request.POST.get("tenant", "")
    if not slug:
        return None
    tenant = tenants_of(request.user).filter(slug=slug).first()
    if tenant is None:
        raise Http404
    return tenant


def _address(query: str) -> str:
    address = reverse("admin:executions_execution_changelist")
    return f"{address}?{query}" if query else address
