"""What lists of the admin share: columns, filters, limits of time, and exports as CSV and JSON lines."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.views import ChangeList

from foundation import exports, moments
from foundation.admin.columns import column, timed
from foundation.api.streaming import streamed_file
from foundation.database.bounded import count_up_to, in_chunks, time_limit
from foundation.errors import CoordinatorError, InvalidRequest, QueryTooSlow
from tenancy.access import tenants_of
from tenancy.audit.acts import declares

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

COUNT_SECONDS: Final = 1
MOST_COUNTED: Final = 10_000
CHUNK: Final = 2000
LONGEST_KEY: Final = 19
MESSAGE_VARIANTS: Final = {"PENDING": "info", "SENT": "success", "FAILED": "danger"}
"""The colours of the states of messages."""
Person = User | AnonymousUser
Cell = Callable[[Any], Any]


# --- columns ---


def text(description: str, path: str, *, ordering: str | None = None, empty: str | None = None) -> Callable[..., Any]:
    """Return a column that shows the attribute at `path`, such as `release.pipeline.pipeline_id`; `empty` for None."""
    read = attrgetter(path)

    def shown(pages: Any, row: Any) -> Any:
        return read(row)

    return column(description, ordering=ordering, empty=empty)(shown)


def time(description: str, path: str, *, ordering: str | None = None, empty: str | None = None) -> Callable[..., Any]:
    """Return a column or a read-only field that shows the time at `path`; `empty` for None."""
    read = attrgetter(path)

    def shown(pages: Any, row: Any) -> str | None:
        return timed(read(row)) or empty

    return column(description, ordering=ordering)(shown)


# --- filters ---


class ScopedFilter(admin.SimpleListFilter):
    """A list filter: selects the rows whose `lookup`, or else the parameter of the filter, is the chosen value.

    `options` are the choices of everyone. Subclasses whose choices depend on the user return them from `choices_for`.
    """

    lookup: ClassVar[str] = ""
    options: ClassVar[Iterable[tuple[str, str]]] = ()

    @classmethod
    def at(cls, lookup: str) -> type[Self]:
        """Return this filter for another `lookup`."""
        return type(cls.__name__, (cls,), {"lookup": lookup})

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.choices_for(request.user))

    def choices_for(self, person: Person) -> Iterable[tuple[str, str]]:
        return self.options

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.lookup or str(self.parameter_name): self.value()}) if self.value() else queryset


class ConditionFilter(ScopedFilter):
    """A list filter whose choices are conditions with labels. A value that is no choice filters nothing."""

    conditions: ClassVar[Mapping[str, tuple[str, Q]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.options = tuple((value, label) for value, (label, _) in cls.conditions.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, condition = self.conditions.get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class TextFilter(ScopedFilter):
    """A list filter with a text field, which is compared as a whole. The choices are suggestions.

    `problem` says why the text is invalid; it may be empty.
    """

    template = "parts/text_filter.html"
    label: ClassVar[str] = ""
    hint: ClassVar[str] = "All"
    problem: str = ""

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # another template
        kept = {name: value for name, value in changelist.params.items() if name != self.parameter_name}
        yield {
            "name": self.parameter_name,
            "label": self.label or f"By {self.title}",
            "hint": self.hint,
            "value": self.value() or "",
            "problem": self.problem,
            "kept": kept,
            "known": self.lookup_choices,
        }


class TimeFilter(TextFilter):
    """Filters by time (`foundation.moments`). A text that is no time selects nothing."""

    hint = "2026-01-31 14:00 or 24h"
    options = tuple((span, span) for span in ("1h", "24h", "7d", "30d"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(**{self.lookup: moments.read(text, timezone.now())})
        except (ValueError, OverflowError):
            self.problem = f"It {moments.RULE}."
            return queryset.none()


class KeyFilter(ScopedFilter):
    """Filters by the key of a row, for links from its page. Has no choices. `of_key` selects the rows."""

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value() or ""
        key = key_in(text)
        if key is None:
            return queryset.none() if text else queryset
        return self.of_key(queryset, key)

    def of_key(self, queryset: QuerySet[Any], key: int) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.parameter_name}_id": key})


def key_in(text: str) -> int | None:
    """Return the key of a row that a query contains as text; None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < LONGEST_KEY else None


class TenantFilter(ScopedFilter):
    """Filters by tenant, for users of more than one."""

    title = parameter_name = "tenant"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.path = f"{model_admin.tenant_path}__slug"
        super().__init__(request, params, model, model_admin)

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        slugs = list(tenants_of(person).values_list("slug", flat=True)[:200])
        if len(slugs) > 1:
            yield from ((slug, slug) for slug in slugs)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.path: self.value()}) if self.value() else queryset


# --- limits and exports ---


class LimitedList(ChangeList):
    """The rows of one page. If reading them takes too long or is refused, the page is empty and `problem` says why."""

    problem: CoordinatorError | None = None

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        try:
            with time_limit(settings.LIST_SECONDS):
                self.result_list: Any = self.rows_of_page()
        except (QueryTooSlow, InvalidRequest) as problem:
            self.problem, self.result_list = problem, []

    def rows_of_page(self) -> list[Any]:
        """Read the rows of the page, within the time limit."""
        return list(self.result_list)


class BoundedList(LimitedList):
    """The rows of one page, and how many match. Needs `InfinitePaginator`.

    `count` is None if more than MOST_COUNTED rows match, or if counting them takes too long (`slow_count`).
    """

    count: int | None = None
    slow_count: bool = False

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.problem is None:
            self.count = self._counted()
        else:
            self.slow_count = True

    def _counted(self) -> int | None:
        if len(self.result_list) < self.list_per_page and self.page_num == 1:
            return len(self.result_list)
        try:
            with time_limit(COUNT_SECONDS):
                return count_up_to(MOST_COUNTED, self.queryset)
        except QueryTooSlow:
            self.slow_count = True
            return None


class ExportedList(_ModelAdmin):
    """A list that says how many rows match, and offers them as files. `exported` has the cells of a row by name."""

    exported: ClassVar[Mapping[str, Cell]] = {}
    file_name: ClassVar[str]
    list_before_template = "tenancy/list_head.html"

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/<str:form>/", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    @declares(None)
    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Return the rows that the query of the list selects, as a file. A problem is shown on the list."""
        if not self.has_view_permission(request) or form not in exports.FORMATS:
            raise Http404
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        try:
            lines = self.export_lines(rows, form)
            return streamed_file(request, lines, media_type=exports.FORMATS[form], filename=f"{self.file_name}.{form}")
        except CoordinatorError as problem:
            messages.error(request, problem.detail)
            address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
            return redirect(f"{address}?{request.GET.urlencode()}")

    def export_lines(self, rows: QuerySet[Any], form: str) -> Iterator[bytes]:
        """Yield the lines of the file. Raises `ExportTooLarge`."""
        chosen = exports.at_most(settings.MOST_EXPORTED, in_chunks(rows, CHUNK))
        values = ({name: _plain(cell(row)) for name, cell in self.exported.items()} for row in chosen)
        return exports.lines(tuple(self.exported), values, form)


def _plain(value: Any) -> Any:
    """Return times as RFC 3339 in UTC."""
    return value.astimezone(UTC).isoformat(timespec="seconds") if isinstance(value, datetime) else value
