"""The confirmation page of an operator's request: shows what it does and to what, and asks for a reason."""

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


class ConfirmationForm(forms.Form):
    """The reason, and the version that the page showed when the form was submitted."""

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        label="Reason",
        help_text="Optional. Stored in the history.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    expected_version = forms.IntegerField(
        required=False, min_value=0, max_value=HIGHEST_VERSION, widget=forms.HiddenInput
    )
    ticked = forms.BooleanField(required=False)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the page shows.

    If `version` is set, a form submitted from a stale page is rejected. `tick` is the label of a required checkbox; ""
    means no checkbox. `refusal` says why the request is impossible now; "" means that it is possible.
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
class Confirmed:
    """The confirmed request: who made it, and what the form contained."""

    actor: str
    reason: str
    expected_version: int | None
    ticked: bool


def confirm(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    row: Any,
    confirmation_for: Callable[[Any], Confirmation],
    carry_out: Callable[[Any, Confirmed], str],
    *,
    scope: Scope = Scope.OPERATE,
) -> HttpResponse:
    """Show the confirmation on GET, carry out the change on POST. Requires `scope` in the row's tenant.

    `carry_out` returns the success message. If it raises `CoordinatorError`, the page is shown again with the current
    facts and the reason that was typed.
    """
    if not pages.may(request, scope, row):
        raise PermissionDenied
    confirmation = confirmation_for(row)
    if request.method != "POST":
        form = ConfirmationForm(initial={"expected_version": confirmation.version})
        return _page(pages, request, row, confirmation, form, status=409 if confirmation.refusal else 200)
    form = ConfirmationForm(request.POST)
    if not form.is_valid():
        return _page(pages, request, row, confirmation, form, status=400)
    try:
        success = carry_out(row, Confirmed(actor(request.user), **form.cleaned_data))
    except CoordinatorError as error:
        row = pages.row_or_404(request, row.pk)
        confirmation = confirmation_for(row)
        # Keep the reason that was typed, and use the version that the page now shows.
        reason = form.cleaned_data["reason"]
        form = ConfirmationForm(initial={"reason": reason, "expected_version": confirmation.version})
        return _page(pages, request, row, confirmation, form, error=error, status=error.status)
    messages.success(request, success)
    return redirect(confirmation.back)


def _page(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    row: Any,
    confirmation: Confirmation,
    form: ConfirmationForm,
    *,
    status: int,
    error: CoordinatorError | None = None,
) -> HttpResponse:
    problem = problem_of(error) if error else None
    return pages.page(
        request,
        "executions/confirmation.html",
        status=status,
        title=confirmation.title,
        original=row,
        confirmation=confirmation,
        form=form,
        problem=problem,
    )
