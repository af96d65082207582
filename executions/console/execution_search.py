"""The search of the list of executions: what its address asks for, and the rows that match."""

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils import timezone

from executions import columns
from executions.console.payloads import tenants_shown
from executions.models import Execution
from executions.search import PARAMETERS, Search, matching, parse, with_failed_step
from foundation.admin.columns import moment
from foundation.errors import CoordinatorError, InvalidRequest, QueryTooSlow
from releases.models import Release
from releases.pointer import opening
from tenancy.access import tenants_of
from tenancy.admin.base import PRESERVED
from tenancy.admin.lists import BoundedList
from tenancy.models import Tenant
from tenancy.roles import Scope

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
        except InvalidRequest as problem:
            self.problem = problem

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """Return the search of a request, which is read once."""
        found: Self = request.__dict__.setdefault("execution_search", None) or cls(request)
        request.__dict__["execution_search"] = found
        return found

    @cached_property
    def tenants(self) -> list[Tenant]:
        return list(tenants_of(self.person))

    @cached_property
    def operated(self) -> list[Tenant]:
        """The tenants in which the person may operate."""
        return list(tenants_of(self.person, Scope.OPERATE))

    @property
    def query_string(self) -> str:
        return urlencode(self.query)

    @property
    def filter_count(self) -> int:
        return sum(bool(text.strip()) for name, text in self.values.items() if name != "q")

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
        ended = [each.grace_ends for each in openings if each.grace_ends is not None]
        return max(ended, default=None) if not any(each.is_open for each in openings) else None

    def rows(self) -> QuerySet[Execution]:
        if self.problem:
            return Execution.objects.none()
        rows = matching(self.tenants, self.search, person=self.person)
        return with_failed_step(rows) if "step" in self.columns else rows

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
        return self.requested.rows()

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.requested.problem = self.problem or self.requested.problem
        readable = tenants_shown(request)
        for row in self.result_list:
            row.address = self.address_of(row)
            row.message = row.error_message if row.tenant_id in readable else ""

    def address_of(self, row: Execution) -> str:
        """Return the address of the page of an execution, which remembers the query of the list."""
        address = reverse("admin:executions_execution_change", args=[row.pk])
        query = self.get_query_string({"p": str(self.page_num)} if self.page_num > 1 else {}).removeprefix("?")
        return f"{address}?{urlencode({PRESERVED: query})}" if query else address
