"""The page on which an operator confirms a request: its effect, its object, and the operator's reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminTextareaWidget

from executions.lifecycle.replacements import Replacement
from executions.models import Campaign
from foundation.errors import CoordinatorError
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import TenantScopedAdmin, View, problem_of, serves
from tenancy.roles import Scope

LONGEST_REASON = Campaign._meta.get_field("reason").max_length
HIGHEST_VERSION = 2**63 - 1


class ConfirmationForm(forms.Form):
    """The operator's reason, and the version that the page showed."""

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        label="Reason",
        help_text="Optional. It is stored permanently in the history.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    expected_version = forms.IntegerField(
        required=False, min_value=0, max_value=HIGHEST_VERSION, widget=forms.HiddenInput
    )

    def __init__(self, confirmation: "Confirmation", *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.fields |= {name: forms.BooleanField(required=False) for name in confirmation.acknowledgements}
        if confirmation.reason_required:
            self.fields["reason"].required = True
            self.fields["reason"].help_text = "It is stored permanently in the history."

    def requested(self, actor: str) -> "OperatorRequest":
        sent = dict(self.cleaned_data)
        reason, version = sent.pop("reason"), sent.pop("expected_version")
        return OperatorRequest(actor, reason, version, frozenset(name for name, ticked in sent.items() if ticked))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The content of the page. With `version`, a request from a stale page is rejected.

    The operator must tick a box with the text of each of the `acknowledgements`. `notice` warns of a risk. If `refusal`
    is not empty, it says why the request is not possible. `replacement` carries on the work that would run again.
    `alternative` is the label and the address of an act that may be the better choice.
    """

    title: str
    lead: str
    button: str
    icon: str
    back: str
    facts: list[tuple[str, Any]] = field(default_factory=list)
    danger: bool = False
    version: int | None = None
    acknowledgements: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""
    refusal: str = ""
    reason_required: bool = False
    replacement: Replacement | None = None
    alternative: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """A request as the operator confirmed it. `acknowledged` has the names of the boxes that were ticked."""

    actor: str
    reason: str
    expected_version: int | None
    acknowledged: frozenset[str] = frozenset()


def confirm(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    row: Any,
    confirmation_for: Callable[[Any], Confirmation],
    carry_out: Callable[[Any, OperatorRequest], str | HttpResponse],
) -> HttpResponse:
    """Show the confirmation on GET, and carry out the change on POST.

    `carry_out` returns the success message, or the page to show instead. If the change is rejected, the confirmation is
    shown again with the current state and the typed reason.
    """
    confirmation, problem = confirmation_for(row), None
    if request.method != "POST":
        form = ConfirmationForm(confirmation, initial={"expected_version": confirmation.version})
        status = 409 if confirmation.refusal else 200
    elif not (form := ConfirmationForm(confirmation, request.POST)).is_valid():
        status = 400
    else:
        try:
            done = carry_out(row, form.requested(actor(request.user)))
        except CoordinatorError as error:
            row = pages.row_or_404(request, row.pk)
            confirmation, problem, status = confirmation_for(row), problem_of(error), error.status
            # The typed reason stays; the version is the one that the page shows now.
            shown = {"reason": form.cleaned_data["reason"], "expected_version": confirmation.version}
            form = ConfirmationForm(confirmation, initial=shown)
        else:
            if isinstance(done, HttpResponse):
                return done
            messages.success(request, done)
            return redirect(confirmation.back)
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


def confirmed(
    route: str,
    act: Act,
    scope: Scope,
    confirmation_for: Callable[[Any], Confirmation],
    carry_out: Callable[[Any, OperatorRequest], str],
) -> View:
    """Return a page of an admin class (`serves`) that asks for confirmation as `confirm` does."""

    @serves(route, act, scope)
    def page(pages: TenantScopedAdmin, request: HttpRequest, row: Any) -> HttpResponse:
        return confirm(pages, request, row, confirmation_for, carry_out)

    return page


def form_page(
    pages: TenantScopedAdmin,
    request: HttpRequest,
    template: str,
    form: forms.Form,
    act: Callable[[dict[str, Any]], tuple[str, Any]],
    *,
    refusal: str,
    **context: Any,
) -> HttpResponse:
    """Show `form` on GET, and `act` on a valid one on POST: it returns the success message and the new execution's key.

    If `refusal` is not empty, it says why the request is not possible. If the act is rejected, the page is shown again.
    """

    def page(status: int, error: CoordinatorError | None = None) -> HttpResponse:
        problem = problem_of(error)
        return pages.page(request, template, status=status, form=form, refusal=refusal, problem=problem, **context)

    if request.method != "POST":
        return page(409 if refusal else 200)
    if not form.is_valid():
        return page(400)
    try:
        message, execution = act(form.cleaned_data)
    except CoordinatorError as error:
        return page(error.status, error)
    messages.success(request, message)
    return redirect("admin:executions_execution_change", execution)
