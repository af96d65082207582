"""The base class of the pages of channels and rules, and the forms that add, change and remove one."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from tenancy.access import actor, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, attempt, problem_of
from tenancy.admin.lists import TenantFilter
from tenancy.models import Tenant
from tenancy.roles import Scope


class ConfigurationAdmin(ReadOnlyAdmin):
    """Pages of rows that a person with the scope `releases:activate` adds, changes and removes.

    Subclasses serve `new`, `edit` and `remove`, and call the use cases in `add`, `change` and `discard`. These may
    raise `CoordinatorError`. Removed rows are not found.
    """

    form_type: ClassVar[Callable[..., Any]]
    noun: ClassVar[str]
    lead: ClassVar[str]
    """What the form of a new row says first."""
    added, removed = "{name} is added.", "{name} is removed."
    list_filter = (TenantFilter,)
    ordering = ("name", "id")
    list_per_page = 50
    sortable_by = ()
    change_list_template = "alerts/configuration_list.html"

    def add(self, form: Any, by: str) -> Any:
        """Add a row as the valid `form` says, and return it."""
        raise NotImplementedError

    def change(self, row: Any, form: Any, by: str) -> None:
        raise NotImplementedError

    def discard(self, row: Any, by: str) -> None:
        raise NotImplementedError

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(removed_at=None)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_change": _tenants(request).exists(), "new_url": f"{self._prefix}_new", "noun": self.noun}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def new(self, request: HttpRequest) -> HttpResponse:
        """Add a row."""
        form = self.form_type(request, _tenants(request))
        add = partial(self.add, form, actor(request.user))
        return self._form(request, form, add, self.added, title=f"Add a {self.noun}")

    def edit(self, request: HttpRequest, row: Any) -> HttpResponse:
        row = self.to_change(row)
        form = self.form_type(request, _tenants(request), row)

        def change() -> Any:
            self.change(row, form, actor(request.user))
            return row

        return self._form(request, form, change, "Saved.", title=f"Change {row.name}", original=row)

    def remove(self, request: HttpRequest, row: Any) -> HttpResponse:
        row = self.to_change(row)

        def end() -> str:
            self.discard(row, actor(request.user))
            return self.removed.format(name=row.name)

        attempt(request, end, "{error.detail}")
        return redirect(f"{self._prefix}_changelist")

    def to_change(self, row: Any) -> Any:
        """Return the row with what changing it needs."""
        return row

    def to_page(self, row: Any) -> HttpResponse:
        return redirect(f"{self._prefix}_change", row.pk)

    def _form(
        self, request: HttpRequest, form: Any, save: Callable[[], Any], said: str, **context: Any
    ) -> HttpResponse:
        """Save a valid form and go to the page of its row. Otherwise show the form with what is wrong."""
        error = None
        if request.method == "POST" and form.is_valid():
            try:
                row = save()
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, said.format(name=row.name))
                return self.to_page(row)
        return self.page(
            request,
            "alerts/configuration_form.html",
            status=error.status if error else 400 if form.errors else 200,
            form=form,
            problem=problem_of(error) if error else None,
            noun=self.noun,
            lead=self.lead,
            back=f"{self._prefix}_changelist",
            **context,
        )

    @property
    def _prefix(self) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}"


def _tenants(request: HttpRequest) -> QuerySet[Tenant]:
    return tenants_of(request.user, Scope.ACTIVATE)
