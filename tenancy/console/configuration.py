"""The pages of what people of a tenant configure under names: lists, and forms that add, change and remove a row."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from tenancy.access import actor, tenants_of
from tenancy.console.base import ReadOnlyAdmin, attempt, problem_of
from tenancy.console.lists import TenantFilter
from tenancy.models import Tenant
from tenancy.roles import Scope


class ConfigurationAdmin(ReadOnlyAdmin):
    """Pages of rows with names that a person with the scope `changes` adds, changes and removes.

    Subclasses serve `new`, `edit` and `remove`. The `save` of their forms and `discard` call the use cases, which may
    raise `CoordinatorError`. A form that is sent with `preview` is shown again and saves nothing. Removed rows are not
    found.
    """

    form_type: ClassVar[Callable[..., Any]]
    discard: ClassVar[Callable[..., object]]
    changes: ClassVar[Scope] = Scope.ACTIVATE
    icon: ClassVar[str] = "add_alert"
    noun: ClassVar[str]
    lead: ClassVar[str]
    """What the form of a new row says first."""
    added, removed = "{name} is added.", "{name} is removed."
    list_filter = (TenantFilter,)
    form_template: ClassVar[str] = "parts/configuration_form.html"
    ordering = ("name", "id")
    list_per_page = 50
    sortable_by = ()
    change_list_template = "parts/configuration_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(removed_at=None)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {
            "may_change": self.tenants(request).exists(),
            "new_url": f"{self._prefix}_new",
            "noun": self.noun,
            "icon": self.icon,
            "scope": self.changes.value,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def new(self, request: HttpRequest) -> HttpResponse:
        form = self.form_type(request, self.tenants(request))
        return self._form(request, form, self.added, title=f"Add a {self.noun}")

    def edit(self, request: HttpRequest, row: Any) -> HttpResponse:
        row = self.to_change(row)
        form = self.form_type(request, self.tenants(request), row)
        return self._form(request, form, "Saved.", title=f"Change {row.name}", original=row)

    def remove(self, request: HttpRequest, row: Any) -> HttpResponse:
        """Ask for confirmation on GET, and remove the row on POST."""
        if request.method != "POST":
            return self.ask(request, row, f"Remove the {self.noun}")
        row = self.to_change(row)

        def end() -> str:
            self.discard(row, actor=actor(request.user))
            return self.removed.format(name=row.name)

        attempt(request, end, "{detail}")
        return redirect(f"{self._prefix}_changelist")

    def tenants(self, request: HttpRequest) -> QuerySet[Tenant]:
        """Return the tenants in which the user may change rows."""
        return tenants_of(request.user, self.changes)

    def to_change(self, row: Any) -> Any:
        """Return the row with what changing it needs."""
        return row

    def to_page(self, row: Any) -> HttpResponse:
        return redirect(f"{self._prefix}_change", row.pk)

    def _form(self, request: HttpRequest, form: Any, said: str, **context: Any) -> HttpResponse:
        """Save a valid form and go to the page of its row. Otherwise show the form with what is wrong."""
        error = None
        if request.method == "POST" and form.is_valid() and "preview" not in request.POST:
            try:
                row = form.save(actor(request.user))
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, said.format(name=row.name))
                return self.to_page(row)
        return self.page(
            request,
            self.form_template,
            status=error.status if error else 400 if form.errors else 200,
            form=form,
            problem=problem_of(error),
            noun=self.noun,
            lead=self.lead,
            back=f"{self._prefix}_changelist",
            **context,
        )

    @property
    def _prefix(self) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}"
