"""The page that confirms an activation. It shows what changes and for which executions."""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import activation, gates
from releases.activation.gates import Gate, Switch, Verdict
from releases.activation.requests import gate as approvals
from releases.admin import confirmations
from releases.admin.sections import Section
from releases.models import IDENTITY_LENGTH, Activation, Kind, Release
from releases.states import UNDECIDED, Status
from tenancy.access import actor
from tenancy.admin.base import ReadOnlyAdmin, problem_of
from tenancy.models import validate_identifier
from tenancy.roles import Scope

preview_sources: list[Callable[[Switch, list[Gate]], Section]] = []
"""What other packages add to the page, for example what the activation would do. They get the verdicts on its gates."""


class ActivationForm(forms.Form):
    """The reason, the release that the page showed as active, the operation key of the page, and an emergency.

    If the release is breaking for callers, `typed_version` is its version.
    """

    expected_release_version = forms.CharField(required=False, strip=False, max_length=500)
    operation_key = forms.CharField(max_length=200, validators=[validate_identifier])
    reason = forms.CharField(required=False, max_length=Activation._meta.get_field("reason").max_length)
    override = forms.BooleanField(required=False)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)

    def __init__(self, data: Any, release: Release) -> None:
        super().__init__(data)
        self.release = release

    def clean_typed_version(self) -> str:
        typed: str = self.cleaned_data["typed_version"]
        pipeline = queries.pipeline(self.release.pipeline.tenant, self.release.pipeline.pipeline_id)
        if wrong := confirmations.missing(pipeline, self.release, typed):
            raise forms.ValidationError(wrong)
        return typed


def activate(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """GET shows the confirmation page, POST activates the release. A repeated POST is the same activation."""
    if not pages.may(request, Scope.ACTIVATE, release):
        raise PermissionDenied
    if request.method != "POST":
        return _confirmation(pages, request, release, status=200 if release.status == Status.REGISTERED else 409)
    form = ActivationForm(request.POST, release)
    if not form.is_valid():
        return _confirmation(pages, request, release, form=form, status=400)
    override = form.cleaned_data["override"]
    if override and not pages.may(request, Scope.ADMINISTER, release):
        raise PermissionDenied
    try:
        event = activation.activate(
            release,
            actor=actor(request.user),
            reason=form.cleaned_data["reason"],
            expected_release_version=form.cleaned_data["expected_release_version"],
            operation_key=form.cleaned_data["operation_key"],
            override=override,
        )
    except CoordinatorError as error:
        # Reload the release, so that the page shows its current state.
        release = pages.row_or_404(request, release.pk)
        return _confirmation(pages, request, release, form=form, error=error, status=error.status)
    rollback = " This is a rollback." if event.is_rollback else ""
    messages.success(
        request, f"Release {release.release_version} is active for new executions of {release.pipeline}.{rollback}"
    )
    return redirect("admin:releases_pipeline_change", release.pipeline_id)


def _confirmation(
    pages: ReadOnlyAdmin,
    request: HttpRequest,
    release: Release,
    *,
    form: ActivationForm | None = None,
    error: CoordinatorError | None = None,
    status: int = 200,
) -> HttpResponse:
    switch = activation.previewed(release)
    pipeline = switch.pipeline
    active = pipeline.activation.release if pipeline.activation else None
    judged = gates.judge(switch)
    refusing = [gate for gate in judged if gate.verdict is Verdict.UNMET]
    is_approved = approvals.NAME not in {gate.name for gate in refusing}
    may_override = not is_approved and pipeline.emergency_override and pages.may(request, Scope.ADMINISTER, release)
    needs_request = not is_approved and not may_override
    return pages.page(
        request,
        "releases/activate.html",
        status=status,
        title=f"Activate {release}",
        original=release,
        release=release,
        pipeline=pipeline,
        active=active,
        is_registered=release.status == Status.REGISTERED,
        is_active=active is not None and active.pk == release.pk,
        is_rollback=switch.kind == Kind.ROLLBACK,
        sections=[source(switch, judged) for source in preview_sources],
        refusing=[gate for gate in refusing if not (may_override and gate.name == approvals.NAME)],
        is_breaking=confirmations.is_needed(pipeline, release),
        needs_request=needs_request,
        request_variant="primary" if needs_request else "default",
        requests=release.activation_requests.filter(status__in=UNDECIDED).order_by("created_at"),
        may_override=may_override,
        operation_key=str(uuid.uuid4()),
        reason=form.data.get("reason", "") if form else "",
        typed_version=form.data.get(confirmations.FIELD, "") if form else "",
        form_errors=form.errors if form else {},
        problem=problem_of(error) if error else None,
    )
