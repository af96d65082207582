"""The base classes of the admin pages. They show only rows of the user's tenants."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from foundation import moments
from foundation.errors import CoordinatorError
from tenancy.access import tenants_of
from tenancy.models import Membership, Tenant
from tenancy.roles import Scope, granted

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

PRESERVED = "_changelist_filters"
"""The parameter in which the link from a list to a page keeps the query of the list."""
TENANT_COLUMNS = {"tenant", "chain"}
Person = User | AnonymousUser
View = Callable[..., HttpResponseBase]


def holds_anywhere(request: HttpRequest, scope: Scope) -> bool:
    """True if the user holds `scope` in any tenant."""
    if request.user.is_active and request.user.is_superuser:
        return _tenant_count(request) > 0
    return any(scope in scopes for scopes in _scopes(request).values())


def sees_many_tenants(request: HttpRequest) -> bool:
    """True if the user sees more than one tenant."""
    return (_tenant_count(request) if request.user.is_superuser else len(_scopes(request))) > 1


def _tenant_count(request: HttpRequest) -> int:
    """Return how many tenants there are, or 2 if there are more. Asks the database once per request."""
    known: dict[str, int] = request.__dict__
    if "tenant_count" not in known:
        known["tenant_count"] = Tenant.objects.order_by()[:2].count()
    return known["tenant_count"]


def _holds(request: HttpRequest, tenant: Tenant, scope: Scope) -> bool:
    """True if the user holds `scope` in `tenant`. A superuser holds every scope in every tenant."""
    if request.user.is_active and request.user.is_superuser:
        return True
    return scope in _scopes(request).get(tenant.pk, ())


def _scopes(request: HttpRequest) -> dict[int, frozenset[Scope]]:
    """Return the scopes that the user's roles grant, by tenant. Asks the database once per request."""
    known: dict[Any, dict[int, frozenset[Scope]]] = request.__dict__.setdefault("scopes_by_tenant", {})
    person = request.user
    if person.pk not in known:
        held = defaultdict[int, set[str]](set)
        rows = (
            Membership.objects.filter(user_id=person.pk).order_by() if person.is_active else Membership.objects.none()
        )
        for tenant, role in rows.values_list("tenant_id", "role"):
            held[tenant].add(role)
        known[person.pk] = {tenant: granted(roles) for tenant, roles in held.items()}
    return known[person.pk]


class TenantScopedAdmin(_ModelAdmin):
    """Shows the rows of the tenants in which the user holds the scope `needs`. Other rows are not found (404).

    `tenant_path` is the lookup from the model to its tenant, "" for the tenant itself. Every filter in `list_filter`
    is a `SimpleListFilter`. Query parameters of no filter are rejected. `empty` says what to do if there are no rows.
    `add_label` is the text of the button that adds a row. Lists have the column `tenant` only for users who see several
    tenants.
    """

    tenant_path: ClassVar[str] = "tenant"
    needs: ClassVar[Scope] = Scope.READ
    empty: ClassVar[str] = ""
    add_label: ClassVar[str] = ""
    list_filter_sheet = False
    actions = None
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if request.user.is_superuser:
            return rows
        # Ids, not a subquery: there are few, and for a single one an index also provides the order.
        ids = [tenant for tenant, scopes in _scopes(request).items() if self.needs in scopes]
        return rows.filter(**{f"{self.tenant_path or 'pk'}__in": ids})

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        return shown if sees_many_tenants(request) else tuple(name for name in shown if name not in TENANT_COLUMNS)

    def tenant_of(self, row: Any) -> Tenant:
        for step in self.tenant_path.split("__") if self.tenant_path else ():
            row = getattr(row, step)
        assert isinstance(row, Tenant)  # noqa: S101 - `tenant_path` ends there
        return row

    def may(self, request: HttpRequest, scope: Scope, row: Any) -> bool:
        """True if the user holds `scope` in the tenant of `row`. Otherwise the request's `denied_tenant` is set."""
        tenant = self.tenant_of(row)
        holds = _holds(request, tenant, scope)
        if not holds:
            request.denied_tenant = tenant  # type: ignore[attr-defined]  # the audit log needs it
        return holds

    def has_module_permission(self, request: HttpRequest) -> bool:
        return holds_anywhere(request, self.needs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request) if obj is None else self.may(request, self.needs, obj)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in {getattr(each, "parameter_name", None) for each in self.list_filter or ()}

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, *_: Any) -> HttpResponse:
        raise Http404

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Offer one button that saves, and name the act in the header."""
        more = {"show_save_and_continue": False, "show_save_and_add_another": False}
        heading = {} if context.get("original") else {"heading": self.add_label or context.get("title")}
        return super().render_change_form(request, {**context, **more, **heading}, *args, **kwargs)

    def row_or_404(self, request: HttpRequest, object_id: Any) -> Any:
        """Return the row. Raises `Http404` if it does not exist or the user may not see it."""
        row = self.get_object(request, str(object_id))
        if row is None or not self.has_view_permission(request, row):
            raise Http404
        return row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Update only the changed columns, because the application role may not update the others."""
        obj.save(update_fields=form.changed_data if change else None)

    def page(self, request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
        """Render `template` with the context that the admin's base template needs."""
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "model_admin": self}
        if "original" not in context:
            frame["heading"] = context.get("title")
        if query := request.GET.get(PRESERVED):
            frame["back_to_list"] = (
                f"{reverse(f'admin:{self.opts.app_label}_{self.opts.model_name}_changelist')}?{query}"
            )
        frame["heading"] = _heading(request, **context)
        request.current_app = self.admin_site.name  # as the admin's own views do
        return TemplateResponse(request, template, {**frame, **context}, status=status)


class ReadOnlyAdmin(TenantScopedAdmin):
    """Read-only pages: only use cases change these rows. Subclasses render the page of one row in `show`."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [*self.own_urls(), *super().get_urls()]

    def own_urls(self) -> list[URLPattern]:
        """Return additional URL patterns below this model's URL."""
        return []

    def own(self, route: str, name: str, view: View) -> URLPattern:
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(route, self.admin_site.admin_view(view), name=full_name)

    def fragment(self, route: str, name: str, view: View) -> URLPattern:
        """Return the URL pattern of a part of a page, which the page polls. After a log-out the page reloads itself."""

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not self.admin_site.has_permission(request):
                return HttpResponse(status=403, headers={"HX-Refresh": "true"})
            return view(request, *args, **kwargs)

        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(route, update_wrapper(guarded, view), name=full_name)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        return self.show(request, self.row_or_404(request, object_id))

    def show(self, request: HttpRequest, row: Any) -> HttpResponse:
        raise NotImplementedError

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise Http404


class ScopedFilter(admin.SimpleListFilter):
    """A list filter whose choices depend on the user. Subclasses return them from `choices_for`."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.choices_for(request.user))

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        raise NotImplementedError


class TextFilter(ScopedFilter):
    """A list filter with a text field. `lookup` compares its complete value. `choices_for` returns suggestions.

    `problem` says why the text is invalid; it may be empty.
    """

    template = "parts/text_filter.html"
    lookup: ClassVar[str]
    label: ClassVar[str] = ""
    hint: ClassVar[str] = "All"
    problem: str = ""

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ()

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

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(**{self.lookup: self.value()}) if self.value() else queryset


class TimeFilter(TextFilter):
    """Filters by time (`foundation.moments`). A text that is no time selects nothing."""

    hint = "2026-01-31 14:00 or 24h"
    spans: ClassVar[tuple[str, ...]] = ("1h", "24h", "7d", "30d")

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((span, span) for span in self.spans)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(**{self.lookup: moments.read(text, timezone.now())})
        except (ValueError, OverflowError):
            self.problem = f"It {moments.RULE}."
            return queryset.none()


class TenantFilter(ScopedFilter):
    """Filters by tenant, for users of more than one. `lookup` is the path from the model to its tenant's slug."""

    title = "tenant"
    parameter_name = "tenant"
    lookup: ClassVar[str] = "tenant__slug"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        slugs = list(tenants_of(person).values_list("slug", flat=True)[:200])
        if len(slugs) > 1:
            yield from ((slug, slug) for slug in slugs)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(**{self.lookup: self.value()}) if self.value() else queryset


def _heading(request: HttpRequest, *, title: str = "", original: Any = "", **_: Any) -> str:
    """Return what the header says after the name of the row: the act. It is empty on the page of the row itself."""
    match = request.resolver_match
    if match is None or (match.url_name or "").endswith("_change"):
        return ""
    return title.replace(f"{original}", "").strip() if original else title


def problem_of(error: CoordinatorError) -> dict[str, Any]:
    """Return a domain error as context for `parts/problem.html`."""
    return {"code": error.code, "title": error.title, "detail": error.detail, "errors": error.errors}
