"""The base classes of the admin pages. They show only rows of the user's tenants."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.paginator import InfinitePaginator

from foundation.errors import CoordinatorError
from foundation.sentences import sentence
from tenancy.audit.acts import Act, Declaration, Denied, declares
from tenancy.console.lists import LimitedList
from tenancy.models import Membership, Tenant
from tenancy.roles import Scope, granted

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

PRESERVED = "_changelist_filters"
"""The parameter in which the link from a list to a page keeps the query of the list."""
TENANT_COLUMNS = {"tenant", "chain"}
READ = ("GET", "HEAD")
POST = ("POST",)
F = TypeVar("F", bound=Callable[..., HttpResponseBase])
C = TypeVar("C")
View = Callable[..., HttpResponseBase]


def holds_anywhere(request: HttpRequest, scope: Scope) -> bool:
    """True if the user holds `scope` in any tenant."""
    if request.user.is_active and request.user.is_superuser:
        return _tenant_count(request) > 0
    return any(scope in scopes for scopes in _scopes(request).values())


def held_in(request: HttpRequest, scope: Scope) -> list[int] | None:
    """Return the ids of the tenants in which the user holds `scope`; None for a superuser, who holds it in all.

    Ids, not a subquery: there are few, and for a single one an index also provides the order of rows.
    """
    if request.user.is_superuser:
        return None
    return [tenant for tenant, scopes in _scopes(request).items() if scope in scopes]


def sees_many_tenants(request: HttpRequest) -> bool:
    return (_tenant_count(request) if request.user.is_superuser else len(_scopes(request))) > 1


def _tenant_count(request: HttpRequest) -> int:
    """Return how many tenants there are, or 2 if there are more. Asks the database once per request."""
    known: dict[str, int] = request.__dict__
    if "tenant_count" not in known:
        known["tenant_count"] = Tenant.objects.order_by()[:2].count()
    return known["tenant_count"]


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


@dataclass(frozen=True, slots=True)
class Served:
    """A page below the URL of a model. See `serves`."""

    function: Callable[..., HttpResponseBase]
    route: str
    name: str
    declaration: Declaration
    methods: tuple[str, ...]
    model: type[Model] | None
    polled: bool
    signed_out: str


def serves(
    route: str,
    act: Act | None = None,
    *scopes: Scope,
    name: str = "",
    methods: tuple[str, ...] = (),
    reads: bool = False,
    model: type[Model] | None = None,
    polled: bool = False,
    signed_out: str = "",
) -> Callable[[F], F]:
    """Return a decorator that makes a function, as an attribute of a subclass of `TenantScopedAdmin`, one of its pages.

    It gets the admin of the model, the request, the row that `object_id` in the route names, and the other arguments of
    the route. It is called only with one of `methods`, if there are any; for a row that the user may see; and if the
    user holds all `scopes` in its tenant, or in any tenant if there is no row. `act` and `reads` are those of the
    declaration (`tenancy.audit.acts`). The row is of `model` if it is another one than that of the page's URL.
    `name` is the end of the URL's name, by default that of the attribute. A `polled` page is a part of another one,
    which requests it once or repeatedly. After a log-out, the page reloads itself. If it has a form whose entries must
    not be lost, the part is the template `signed_out` instead, and the page stays.
    """

    def decorate(function: F) -> F:
        declaration = Declaration(act, scopes, reads)

        view = _copied(function)
        made = Served(function, route, name, declaration, methods, model, polled, signed_out)
        setattr(view, "served", made)  # noqa: B010 - functions have no such attribute
        return cast("F", view)

    return decorate


def pages_of(admin_class: type) -> dict[str, Served]:
    """Return the pages of a class and of those that it extends, by the names of the attributes, in their order."""
    pages: dict[str, Served] = {}
    for ancestor in reversed(admin_class.__mro__):
        pages |= {name: made.served for name, made in vars(ancestor).items() if hasattr(made, "served")}
    return pages


def declares_views(*scopes: Scope, **acts: Act) -> Callable[[type[C]], type[C]]:
    """Return a decorator that declares the acts of inherited views of an admin class, by the names of the methods."""

    def decorate(admin_class: type[C]) -> type[C]:
        for name, act in acts.items():
            setattr(admin_class, name, declares(act, *scopes)(_copied(getattr(admin_class, name))))
        return admin_class

    return decorate


def _copied(function: View) -> View:
    @wraps(function)
    def view(*args: Any, **kwargs: Any) -> HttpResponseBase:
        return function(*args, **kwargs)

    return view


class OneButtonForms(_ModelAdmin):
    """Forms with one button that saves. The header names the act: `add_label` is that of adding a row."""

    add_label: ClassVar[str] = ""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        more = {"show_save_and_continue": False, "show_save_and_add_another": False}
        heading = {} if context.get("original") else {"heading": self.add_label or context.get("title")}
        return super().render_change_form(request, {**context, **more, **heading}, *args, **kwargs)


class TenantScopedAdmin(OneButtonForms):
    """Shows the rows of the tenants in which the user holds the scope `needs`. Other rows are not found (404).

    `tenant_path` is the lookup from the model to its tenant, "" for the tenant itself. Every filter in `list_filter`
    is a `SimpleListFilter`. Query parameters of no filter are rejected. `empty` says what to do if there are no rows.
    The button that adds a row has the text `add_label`. Lists have the column `tenant` only for users who see several
    tenants. Pages that confirm a removal have the heading `removal`, and say the `consequence`.
    """

    tenant_path: ClassVar[str] = "tenant"
    needs: ClassVar[Scope] = Scope.READ
    empty: ClassVar[str] = ""
    removal: ClassVar[str] = ""
    consequence: ClassVar[str] = ""
    delete_confirmation_template = "tenancy/remove.html"
    list_filter_sheet = False
    actions = None
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        ids = held_in(request, self.needs)
        return rows if ids is None else rows.filter(**{f"{self.tenant_path or 'pk'}__in": ids})

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        return shown if sees_many_tenants(request) else tuple(name for name in shown if name not in TENANT_COLUMNS)

    def tenant_of(self, row: Any) -> Tenant:
        for step in self.tenant_path.split("__") if self.tenant_path else ():
            row = getattr(row, step)
        assert isinstance(row, Tenant)  # noqa: S101 - `tenant_path` ends there
        return row

    def has_scope(self, request: HttpRequest, scope: Scope, row: Any) -> bool:
        """True if the user holds `scope` in the tenant of `row`. A superuser holds every scope in every tenant."""
        if request.user.is_active and request.user.is_superuser:
            return True
        return scope in _scopes(request).get(self.tenant_of(row).pk, ())

    def administers(self, request: HttpRequest, row: Any = None) -> bool:
        """True if the user administers the tenant of `row`, or any tenant if there is no row."""
        return (
            holds_anywhere(request, Scope.ADMINISTER) if row is None else self.has_scope(request, Scope.ADMINISTER, row)
        )

    def require(self, request: HttpRequest, act: Act | None, scopes: Iterable[Scope], row: Any) -> None:
        """Raise `Denied` unless the user holds all `scopes` in the tenant of `row`."""
        if not all(self.has_scope(request, scope, row) for scope in scopes):
            raise Denied(act or Act.ADMIN_PAGE, self.tenant_of(row))

    def get_urls(self) -> list[URLPattern]:
        return [*(self._pattern(*page) for page in pages_of(type(self)).items()), *super().get_urls()]

    def _pattern(self, attribute: str, page: Served) -> URLPattern:
        pages = cast("TenantScopedAdmin", self.admin_site.get_model_admin(page.model)) if page.model else self
        declaration = page.declaration

        def view(request: HttpRequest, *args: Any, object_id: Any = None, **kwargs: Any) -> HttpResponseBase:
            if page.methods and request.method not in page.methods:
                return HttpResponseNotAllowed(page.methods)
            if object_id is not None:
                row = pages.row_or_404(request, object_id)
                pages.require(request, declaration.act, declaration.scopes, row)
                args = (row, *args)
            elif not all(holds_anywhere(request, scope) for scope in declaration.scopes):
                raise PermissionDenied
            return page.function(pages, request, *args, **kwargs)

        view = update_wrapper(view, page.function)
        view = declares(declaration.act, *declaration.scopes, reads=declaration.reads)(view)
        guarded = self._guarded(view, page)
        return path(page.route, guarded, name=f"{self.opts.app_label}_{self.opts.model_name}_{page.name or attribute}")

    def _guarded(self, view: View, served: Served) -> View:
        """Return the view with the checks of the admin. htmx never gets a log-in page as a part of a page."""

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.headers.get("HX-Request") and not self.admin_site.has_permission(request):
                if served.signed_out:
                    return TemplateResponse(request, served.signed_out)
                return HttpResponse(status=403, headers={"HX-Refresh": "true"} if served.polled else {})
            return page(request, *args, **kwargs)

        page: View = self.admin_site.admin_view(view)
        return update_wrapper(guarded, view)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return holds_anywhere(request, self.needs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request) if obj is None else self.has_scope(request, self.needs, obj)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in {getattr(entry, "parameter_name", None) for entry in self.list_filter or ()}

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, *_: Any) -> HttpResponse:
        raise Http404

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().delete_view(request, object_id, {"heading": self.removal, "consequence": self.consequence})

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

    def part(self, request: HttpRequest, template: str, page: str = "parts/part.html", **context: Any) -> HttpResponse:
        """Render a part that comes after its page (see the tag `later`). Without JavaScript it is a separate `page`.

        The page of a part includes the template `part`.
        """
        if request.headers.get("HX-Request"):
            return TemplateResponse(request, template, context)
        return self.page(request, page, part=template, **context)

    def ask(self, request: HttpRequest, row: Any, heading: str) -> HttpResponse:
        """Render the page that asks before `row` is removed. Its form is sent to the same address."""
        shown = {"title": heading, "heading": heading, "original": row, "object": row, "consequence": self.consequence}
        return self.page(request, self.delete_confirmation_template, **shown)


class ReadOnlyAdmin(TenantScopedAdmin):
    """Read-only pages: only use cases change these rows. Subclasses render the page of one row in `show`."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in READ:
            return HttpResponseNotAllowed(READ)
        return self.show(request, self.row_or_404(request, object_id))

    def show(self, request: HttpRequest, row: Any) -> HttpResponse:
        raise NotImplementedError

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise Http404


class LongList(ReadOnlyAdmin):
    """Read-only pages of rows that may be millions: the list does not count them, and only indexes order it."""

    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LimitedList]:
        return LimitedList


def _heading(request: HttpRequest, *, title: str = "", original: Any = "", **_: Any) -> str:
    """Return what the header says after the name of the row: the act. It is empty on the page of the row itself."""
    match = request.resolver_match
    if match is None or (match.url_name or "").endswith("_change"):
        return ""
    return title.replace(f"{original}", "").strip() if original else title


def problem_of(error: CoordinatorError | None) -> dict[str, Any] | None:
    """Return what `parts/problem.html` shows of an error; None for None."""
    if error is None:
        return None
    return {"code": error.code, "title": error.title, "detail": error.detail, "errors": error.errors}


def wrong_fields(form: forms.Form) -> str:
    """Return the errors of a form in sentences, each with the label of its field."""
    texts = (f"{form[name].label}: {text}" for name, errors in form.errors.items() for text in errors)
    return " ".join(map(sentence, texts))


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=1000)


def attempt_with_reason(request: HttpRequest, act: Callable[[str], str], refused: str) -> bool:
    """Do `act` with the reason that was sent, as `attempt` does. Without a valid reason, say that nothing changed."""
    form = ReasonForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Give a reason of at most 1,000 characters. Nothing changed.")
        return False
    return attempt(request, lambda: act(form.cleaned_data["reason"]), refused)


def attempt(request: HttpRequest, act: Callable[[], str], refused: str) -> bool:
    """Do `act` and show the message that it returns. If a `CoordinatorError` refuses it, show that as `refused` says.

    `refused` is a format with the names `code`, `title` and `detail`, a sentence. Return True if nothing was refused.
    """
    try:
        messages.success(request, act())
    except CoordinatorError as error:
        messages.error(request, refused.format(code=error.code, title=error.title, detail=sentence(error.detail)))
        return False
    return True
