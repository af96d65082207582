"""The page that asks before an operator's order is given: what it does, to what, and why it is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminTextareaWidget

from executions.models import Campaign
from foundation.errors import CoordinatorError
from tenancy.access import actor
from tenancy.admin.base import TenantScopedAdmin, problem_of
from tenancy.roles import Scope

LONGEST_REASON = Campaign._meta.get_field("reason").max_length
HIGHEST_VERSION = 2**63 - 1


class OrderForm(forms.Form):
    """Why, and what the page showed when the button was pressed."""

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        label="Reason",
        help_text="Optional. It is kept in the history for good.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    expected_version = forms.IntegerField(
        required=False, min_value=0, max_value=HIGHEST_VERSION, widget=forms.HiddenInput
    )
    ticked = forms.BooleanField(required=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What the page shows. `version` makes a stale page be refused; `tick` has to be ticked where it is given.

    `refusal` says why the order cannot be given any more, where it cannot.
    """

    title: str
    lead: str
    button: str
    icon: str
    back: str
    facts: list[tuple[str, Any]] = field(default_factory=list)
    danger: bool = False
    version: int | None = None
    tick: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An order as it was given."""

    actor: str
    reason: str
    expected_version: int | None
    ticked: bool


def ask(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    row: Any,
    order_for: Callable[[Any], Order],
    carry_out: Callable[[Any, Given], str],
    *,
    scope: Scope = Scope.OPERATE,
) -> HttpResponse:
    """Show the confirmation on GET, carry out the change on POST. Requires `scope` in the row's tenant.

    `carry_out` returns the success message.

    A refusal shows the page again as things are by then, with what was typed.
    """
    if not pages.may(request, scope, row):
        raise PermissionDenied
    order = order_for(row)
    if request.method != "POST":
        form = OrderForm(initial={"expected_version": order.version})
        return _page(pages, request, row, order, form, status=409 if order.refusal else 200)
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _page(pages, request, row, order, form, status=400)
    try:
        told = carry_out(row, Given(actor(request.user), **form.cleaned_data))
    except CoordinatorError as error:
        row = pages.row_or_404(request, row.pk)
        order = order_for(row)
        # What was typed is kept; the version is the one that the page shows now.
        form = OrderForm(initial={"reason": form.cleaned_data["reason"], "expected_version": order.version})
        return _page(pages, request, row, order, form, error=error, status=error.status)
    messages.success(request, told)
    return redirect(order.back)


def _page(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    row: Any,
    order: Order,
    form: OrderForm,
    *,
    status: int,
    error: CoordinatorError | None = None,
) -> HttpResponse:
    problem = problem_of(error) if error else None
    return pages.page(
        request,
        "executions/order.html",
        status=status,
        title=order.title,
        original=row,
        order=order,
        form=form,
        problem=problem,
    )
