"""The pages of the audit log, for tenant admins. Superusers also see the chain of the installation."""

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import is_aware
from unfold.paginator import InfinitePaginator

from foundation.admin.columns import badge, column, on_one_line
from foundation.admin.times import timed
from tenancy.access import tenants_of
from tenancy.admin.base import Person, ScopedFilter, TenantFilter, TenantScopedAdmin, TextFilter
from tenancy.api.audit import exported
from tenancy.audit import exports
from tenancy.audit.acts import NAMES
from tenancy.models import AuditEntry
from tenancy.roles import Scope

INSTALLATION = "-"
EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
DETAILS_SHOWN = 120
MOST_COUNTED = 10_000
OUTCOMES = {"granted": "success", "denied": "danger", "failed": "warning"}


class ChainFilter(TenantFilter):
    """Filters by tenant. Superusers can choose the chain of the installation."""

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        if person.is_superuser:
            yield INSTALLATION, "(the installation)"
        yield from super().choices_for(person)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == INSTALLATION:
            return queryset.filter(tenant=None)
        return super().queryset(request, queryset)


class ActFilter(TextFilter):
    title = parameter_name = lookup = "act"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((name, name) for name in NAMES)


class ActorFilter(TextFilter):
    title = parameter_name = lookup = "actor"


class ObjectFilter(TextFilter):
    """Filters by an object and what belongs to it: a pipeline with its releases, a release with its requests."""

    title = "object (with what belongs to it)"
    parameter_name = "object"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset.filter(Q(object=name) | Q(object__startswith=f"{name}/")) if name else queryset


class OutcomeFilter(ScopedFilter):
    title = parameter_name = "outcome"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from AuditEntry.Outcome.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


class FromFilter(TextFilter):
    """Filters by time: a date, or a moment with its offset. Other texts select nothing."""

    title = "from (such as 2026-01-31)"
    parameter_name = "from"
    lookup = "at__gte"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = self.value()
        if not text:
            return queryset
        found = _moment(text)
        return queryset.filter(**{self.lookup: found}) if found else queryset.none()


class ToFilter(FromFilter):
    title = "before"
    parameter_name = "to"
    lookup = "at__lt"


def _moment(text: str) -> Any:
    try:
        if parse_date(text):
            return f"{text}T00:00:00Z"
        found = parse_datetime(text)
        return found.astimezone(UTC) if found and is_aware(found) else None
    except (ValueError, OverflowError):  # there is no such day, or it is in no year of UTC
        return None


def _wrapped(text: str) -> SafeString:
    """Return an element that breaks long words, so that the table fits on the screen."""
    return format_html('<div class="dc-wide">{}</div>', text)


@admin.register(AuditEntry)
class AuditEntryAdmin(TenantScopedAdmin):
    needs = Scope.ADMINISTER
    list_display = ("time", "chain", "actor", "act", "on", "result", "reason", "more")
    sortable_by = ("time",)
    paginator = InfinitePaginator
    show_full_result_count = False
    list_select_related = ("tenant",)
    list_filter = (ChainFilter, ActFilter, ActorFilter, ObjectFilter, OutcomeFilter, FromFilter, ToFilter)
    ordering = ("-id",)
    change_list_template = "tenancy/audit_list.html"
    fields = readonly_fields = (
        *("time", "chain", "sequence", "actor", "act", "object_type", "object", "outcome", "reason", "request_id"),
        *("address", "details", "previous_hash", "hash"),
    )

    def may(self, request: HttpRequest, scope: Scope, row: AuditEntry) -> bool:
        return bool(request.user.is_superuser) if row.tenant is None else super().may(request, scope, row)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        return [path("export/<str:form>/", view, name="tenancy_auditentry_export"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        answer = super().changelist_view(request, {"most_counted": MOST_COUNTED, **(extra_context or {})})
        if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
            entries = answer.context_data["cl"].queryset.order_by()
            answer.context_data["counted"] = entries[: MOST_COUNTED + 1].count()
        return answer

    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Return the entries that the filters in the query select, as a file."""
        if not self.has_view_permission(request) or form not in exports.FORMATS:
            raise Http404
        entries = self.get_changelist_instance(request).get_queryset(request)
        return exported(request, entries, form, "log")

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Show the chain only to users who see several."""
        several = request.user.is_superuser or len(tenants_of(request.user)[:2]) > 1
        return tuple(name for name in self.list_display if several or name != "chain")

    @column("Time", ordering="id")
    def time(self, entry: AuditEntry) -> SafeString | None:
        return timed(entry.at)

    @column("Tenant")
    def chain(self, entry: AuditEntry) -> str:
        return entry.tenant.slug if entry.tenant else "(the installation)"

    @column("Object")
    def on(self, entry: AuditEntry) -> SafeString:
        return _wrapped(entry.object)

    @badge("Outcome", OUTCOMES)
    def result(self, entry: AuditEntry) -> str:
        return entry.outcome

    @column("Details", empty="-")
    def more(self, entry: AuditEntry) -> SafeString | None:
        known = {name: value for name, value in json.loads(entry.details).items() if value not in EMPTY}
        return _wrapped(Truncator(on_one_line(known)).chars(DETAILS_SHOWN)) if known else None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
