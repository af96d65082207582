"""The pages of the audit log, for tenant admins. Superusers also see the chain of the installation."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from foundation.admin import columns
from foundation.admin.columns import badge, column, on_one_line
from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.audit.chain import about
from tenancy.audit.people import person_behind
from tenancy.console.base import LongList
from tenancy.console.lists import (
    BoundedList,
    ExportedList,
    Person,
    ScopedFilter,
    TenantFilter,
    TextFilter,
    TimeFilter,
    time,
)
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from wire.documents.execution_statement import named

INSTALLATION = "-"
EMPTY: tuple[Any, ...] = (None, "", [], {})
DETAILS_SHOWN = 120
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

    options = tuple((act.value, act.value) for act in Act)


class ActorFilter(TextFilter):
    title = parameter_name = lookup = "actor"
    hint = "user:ann or token:ci"


class ObjectFilter(TextFilter):
    """Filters by an object and what belongs to it: a pipeline with its releases, a release with its requests."""

    title = "object (with what belongs to it)"
    parameter_name = "object"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return about(queryset, name) if name else queryset


class RequestFilter(TextFilter):
    title = "request id"
    parameter_name = "request"
    lookup = "request_id"


class OutcomeFilter(ScopedFilter):
    title = parameter_name = "outcome"
    options = tuple(AuditEntry.Outcome.choices)


class FromFilter(TimeFilter):
    title = "earliest time"
    parameter_name = "from"
    lookup = "at__gte"
    label = "Since"


class ToFilter(TimeFilter):
    title = "latest time"
    parameter_name = "to"
    lookup = "at__lt"
    label = "Before"


def _clamped(text: str) -> SafeString:
    return format_html('<span class="dc-clamp">{}</span>', text)


@admin.register(AuditEntry)
class AuditEntryAdmin(ExportedList, LongList):
    needs = Scope.AUDIT
    empty = "Each act of a person, a token or the system gets an entry, whether it was granted or not."
    list_display = ("time", "chain", "actor", "act", "on", "result", "why", "more")
    list_select_related = ("tenant",)
    list_filter = (
        ChainFilter,
        ActorFilter,
        ActFilter,
        ObjectFilter,
        OutcomeFilter,
        FromFilter,
        ToFilter,
        RequestFilter,
    )
    list_before_template = "tenancy/audit_list_head.html"
    list_per_page = 100
    file_name = "audit-log"

    def has_scope(self, request: HttpRequest, scope: Scope, row: AuditEntry) -> bool:
        return bool(request.user.is_superuser) if row.tenant is None else super().has_scope(request, scope, row)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedList]:
        return BoundedList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Return an ordering that an index provides: the number in the chain of one tenant, or else the id.

        The indexes on the time come first if there is a filter of it.
        """
        number = "-sequence" if request.GET.get("tenant") else "-id"
        return ("-at", number) if request.GET.get("from") or request.GET.get("to") else (number,)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Superusers see several chains, although there may be only one tenant."""
        return self.list_display if request.user.is_superuser else super().get_list_display(request)

    def export_lines(self, rows: QuerySet[AuditEntry], form: str) -> Iterator[bytes]:
        return chain.lines(rows, form)

    time = time("Time", "at")

    @column("Tenant")
    def chain(self, entry: AuditEntry) -> str:
        return entry.tenant.slug if entry.tenant else "(the installation)"

    @column("Object")
    def on(self, entry: AuditEntry) -> SafeString:
        return format_html('<span class="dc-quiet">{}</span> {}', _words(entry.object_type), columns.cut(entry.object))

    @badge("Outcome", OUTCOMES)
    def result(self, entry: AuditEntry) -> str:
        return entry.outcome

    @column("Reason", empty="-")
    def why(self, entry: AuditEntry) -> SafeString | None:
        return _clamped(entry.reason) if entry.reason else None

    @column("Details", empty="-")
    def more(self, entry: AuditEntry) -> SafeString | None:
        known = {name: value for name, value in json.loads(entry.details).items() if value not in EMPTY}
        return _clamped(Truncator(on_one_line(known)).chars(DETAILS_SHOWN)) if known else None

    def show(self, request: HttpRequest, row: AuditEntry) -> HttpResponse:
        details = json.loads(row.details)
        return self.page(
            request,
            "tenancy/audit_entry.html",
            title=f"{row.act} by {row.actor}",
            original=row,
            entry=row,
            by=named(row.actor, person_behind(row.tenant, row.actor, row.at) if row.tenant else None),
            chain=self.chain(row),
            object_type=_words(row.object_type),
            variant=OUTCOMES[row.outcome],
            details=columns.json_tree(details, "details") if details else None,
            related=list(_related(row)),
        )


def _related(entry: AuditEntry) -> Iterator[tuple[str, str]]:
    """Yield the lists of related entries, each with what it has in common with `entry`."""
    address = reverse("admin:tenancy_auditentry_changelist")
    tenant = {"tenant": entry.tenant.slug if entry.tenant else INSTALLATION}
    yield f"All acts of {entry.actor}", f"{address}?{urlencode({**tenant, 'actor': entry.actor})}"
    yield f"All acts on this {_words(entry.object_type)}", f"{address}?{urlencode({**tenant, 'object': entry.object})}"
    yield f"All entries of {entry.act}", f"{address}?{urlencode({**tenant, 'act': entry.act})}"
    if entry.request_id:
        same_request = {**tenant, "request": entry.request_id}
        yield "All entries of the same request", f"{address}?{urlencode(same_request)}"


def _words(name: str) -> str:
    return name.replace("_", " ")
