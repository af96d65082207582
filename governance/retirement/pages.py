"""The pages that revoke and retire a release. They show what that hits, and ask for its version and a reason."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from governance.activation.pages import REASON_LENGTH
from governance.reports.consequences import consequences
from governance.reports.pages import lines_of
from governance.retirement import retirement
from governance.retirement.retirement import FAILURES, Order, shown_count
from releases.models import IDENTITY_LENGTH, Pipeline, Release
from releases.states import Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import ReadOnlyAdmin, problem_of, serves
from tenancy.roles import Scope

LISTED = 20
"""How many callers and schedules the pages name."""


class EndForm(forms.Form):
    """A reason, and the version of the release, which a person types to prevent accidents."""

    reason = forms.CharField(max_length=REASON_LENGTH)
    typed_version = forms.CharField(max_length=IDENTITY_LENGTH)

    def __init__(self, release: Release, data: Any = None) -> None:
        super().__init__(data)
        self.release = release

    def clean_typed_version(self) -> str:
        typed: str = self.cleaned_data["typed_version"]
        if typed != self.release.release_version:
            raise forms.ValidationError(f"Type {self.release.release_version} to confirm.")
        return typed


class RevocationForm(EndForm):
    """Also has the order about the open executions, and whether the page showed the release as active: `yes` or `no`.

    Submissions fail after the revocation of an active release, so the person must have read that it is active.
    """

    shown_active = forms.ChoiceField(choices=[("yes", "yes"), ("no", "no")])
    open_executions = forms.ChoiceField(choices=Order.choices, initial=Order.LEAVE)

    def clean_shown_active(self) -> str:
        shown: str = self.cleaned_data["shown_active"]
        if shown == "no" and Pipeline.objects.filter(activation__release=self.release).exists():
            raise forms.ValidationError("The release has become active since you opened the page. Read it again.")
        return shown


class RetirementForm(EndForm):
    ignore_failures = forms.BooleanField(required=False)


@serves("<int:object_id>/revoke/", Act.RELEASE_REVOKE, Scope.ACTIVATE)
def revoke(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """GET shows what the revocation hits, POST revokes the release permanently."""

    def end(fields: dict[str, Any]) -> str:
        order = Order(fields["open_executions"])
        retirement.revoke(release, actor=actor(request.user), reason=fields["reason"], open_executions=order)
        return f"Release {release} is revoked and can never be activated again."

    return _page(pages, request, RevocationForm(release, request.POST or None), end)


@serves("<int:object_id>/retire/", Act.RELEASE_RETIRE, Scope.ACTIVATE)
def retire(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """GET shows what needs the release, POST retires it permanently, if nothing needs it."""

    def end(fields: dict[str, Any]) -> str:
        give_up = fields["ignore_failures"]
        retirement.retire(release, actor=actor(request.user), reason=fields["reason"], give_up_failures=give_up)
        return f"Release {release} is retired. Its workers may be stopped."

    return _page(pages, request, RetirementForm(release, request.POST or None), end)


def _page(
    pages: ReadOnlyAdmin, request: HttpRequest, form: EndForm, end: Callable[[dict[str, Any]], str]
) -> HttpResponse:
    """End the release if a valid form asks for it. Otherwise show what that hits, and why it was refused."""
    release, problem = form.release, None
    status = 200 if release.status == Status.REGISTERED else 409
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                messages.success(request, end(form.cleaned_data))
                return redirect("admin:releases_release_change", release.pk)
            except CoordinatorError as error:
                release = pages.row_or_404(request, release.pk)
                problem, status = problem_of(error), error.status
    affected, is_revocation = consequences(release), isinstance(form, RevocationForm)
    return pages.page(
        request,
        "releases/end.html",
        status=status,
        title=f"{'Revoke' if is_revocation else 'Retire'} {release}",
        original=release,
        release=release,
        is_registered=release.status == Status.REGISTERED,
        is_revocation=is_revocation,
        ended="revoked" if is_revocation else "retired",
        is_needed=not is_revocation and any(need.kind not in FAILURES for need in affected.needs),
        found=affected,
        lines=lines_of(release, affected.needs),
        open=shown_count(affected.open),
        questions=shown_count(affected.questions),
        callers=affected.callers[:LISTED],
        more_callers=len(affected.callers[LISTED:]),
        schedules=affected.schedules[:LISTED],
        more_schedules=len(affected.schedules[LISTED:]),
        form=form,
        problem=problem,
    )
