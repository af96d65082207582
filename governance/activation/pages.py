"""The page that confirms an activation, and the form on the page of a pipeline that rolls it back in one step."""

import uuid
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from governance.activation import activation, gates
from governance.activation.gates import Switch, Verdict
from governance.reports import comparison
from governance.reports.pages import preview
from governance.reports.preflight import preflight_of
from releases import queries
from releases.models import IDENTITY_LENGTH, Activation, Kind, Pipeline, Release
from releases.states import UNDECIDED, Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import POST, READ, ReadOnlyAdmin, problem_of, serves
from tenancy.models import validate_identifier
from tenancy.roles import Scope

REASON_LENGTH: Final = Activation._meta.get_field("reason").max_length
TYPED: Final = "typed_version"
"""The name of the field with the typed version, in each form that makes a release active or requests that."""


def needs_typing(pipeline: Pipeline, release: Release | None) -> bool:
    """True if `release` differs from the active release so that clients that work today fail.

    To activate it, a person types its version. This prevents accidents.
    """
    active = pipeline.active_release
    if active is None or release is None or active.pk == release.pk:
        return False
    return comparison.breaks_callers(active, release)


def not_typed(pipeline: Pipeline, release: Release, typed: str) -> str:
    """Return what the user must still do, or "" if `typed` confirms the release or no confirmation is needed."""
    if typed.strip() == release.release_version or not needs_typing(pipeline, release):
        return ""
    return (
        f"Release {release.release_version} is breaking for callers. Type its version, {release.release_version}, "
        "to confirm that you want it."
    )


class OperationForm(forms.Form):
    """The release that the page showed as active, the operation key of the page, and the reason of an operation.

    If the form has a `typed_version`, that is the version of a release that is breaking for callers.
    """

    expected_release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    operation_key = forms.CharField(max_length=200, validators=[validate_identifier])
    reason = forms.CharField(required=False, max_length=REASON_LENGTH)

    def operation(self, request: HttpRequest) -> dict[str, Any]:
        """Return the members of a valid form that all operations take."""
        names = ("reason", "expected_release_version", "operation_key")
        return {"actor": actor(request.user), **{name: self.cleaned_data[name] for name in names}}


class ActivationForm(OperationForm):
    expected_release_version = forms.CharField(required=False, strip=False, max_length=IDENTITY_LENGTH)
    override = forms.BooleanField(required=False)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)

    def __init__(self, data: Any, release: Release) -> None:
        super().__init__(data)
        self.release = release

    def clean_typed_version(self) -> str:
        typed: str = self.cleaned_data["typed_version"]
        pipeline = queries.pipeline(self.release.pipeline.tenant, self.release.pipeline.pipeline_id)
        if wrong := not_typed(pipeline, self.release, typed):
            raise forms.ValidationError(wrong)
        return typed


@serves("<int:object_id>/activate/", Act.RELEASE_ACTIVATE, Scope.ACTIVATE)
def activate(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """GET shows what changes, POST activates the release. A repeated POST is the same activation.

    The pre-flight and the form come after the page, so what is confirmed has been checked.
    """
    if request.method != "POST":
        shown = _change(release, activation.previewed(release))
        status = 200 if release.status == Status.REGISTERED else 409
        return pages.page(request, "releases/activate.html", status=status, **shown)
    form = ActivationForm(request.POST, release)
    if not form.is_valid():
        return _confirmation(pages, request, release, form, 400)
    override = form.cleaned_data["override"]
    if override:
        pages.require(request, Act.RELEASE_ACTIVATE, [Scope.ADMINISTER], release)
    try:
        event = activation.activate(release, **form.operation(request), override=override)
    except CoordinatorError as error:
        # Reload the release, so that the page shows its current state.
        release = pages.row_or_404(request, release.pk)
        return _confirmation(pages, request, release, form, error.status, problem_of(error))
    rollback = " This is a rollback." if event.is_rollback else ""
    messages.success(
        request, f"Release {release.release_version} is active for new executions of {release.pipeline}.{rollback}"
    )
    return redirect("admin:releases_pipeline_change", release.pipeline_id)


@serves("<int:object_id>/activate/form/", None, Scope.ACTIVATE, methods=READ, polled=True)
def activate_form(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Return the pre-flight and the form. The page is loaded again if it shows another active release."""
    shown = _form(pages, request, release, activation.previewed(release))
    active = shown["active"].release_version if shown["active"] else ""
    if request.headers.get("HX-Request") and request.GET.get("shown") != active:
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return pages.part(request, "releases/activate_form.html", "releases/activate.html", **shown)


def _change(release: Release, switch: Switch) -> dict[str, Any]:
    """Return what the page shows at once."""
    active = switch.pipeline.active_release
    return {
        "title": f"Activate {release}",
        "original": release,
        "release": release,
        "pipeline": switch.pipeline,
        "active": active,
        "is_active": active is not None and active.pk == release.pk,
        "is_rollback": switch.kind == Kind.ROLLBACK,
    }


def _confirmation(
    pages: ReadOnlyAdmin, request: HttpRequest, release: Release, form: ActivationForm, status: int, problem: Any = None
) -> HttpResponse:
    """Return the page with its form, which was refused."""
    shown = _form(pages, request, release, activation.previewed(release), form)
    page, part = "releases/activate.html", "releases/activate_form.html"
    return pages.page(request, page, status=status, part=part, problem=problem, **shown)


def _form(
    pages: ReadOnlyAdmin, request: HttpRequest, release: Release, switch: Switch, form: ActivationForm | None = None
) -> dict[str, Any]:
    """Return what the page and its form show."""
    pipeline = switch.pipeline
    judged = gates.judge(switch)
    refusing = [gate for gate in judged if gate.verdict is Verdict.UNMET]
    is_approved = gates.APPROVAL not in {gate.name for gate in refusing}
    may_override = not is_approved and pipeline.emergency_override and pages.may(request, Scope.ADMINISTER, release)
    needs_request = not is_approved and not may_override
    return {
        **_change(release, switch),
        "is_registered": release.status == Status.REGISTERED,
        "preview": preview(preflight_of(switch, judged)),
        "refusing": [gate for gate in refusing if not (may_override and gate.name == gates.APPROVAL)],
        "is_breaking": needs_typing(pipeline, release),
        "needs_request": needs_request,
        "request_variant": "primary" if needs_request else "default",
        "requests": release.activation_requests.filter(status__in=UNDECIDED).order_by("created_at"),
        "may_override": may_override,
        "operation_key": str(uuid.uuid4()),
        "reason": form.data.get("reason", "") if form else "",
        "typed_version": form.data.get(TYPED, "") if form else "",
        "form_errors": form.errors if form else {},
    }


# --- rollbacks ---


class RollbackForm(OperationForm):
    """`release_version` is the release that the page offered."""

    release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    reason = forms.CharField(max_length=REASON_LENGTH)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)


def rollback_offered(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> dict[str, Any]:
    """Return the context of the form. Its `rollback_target` is None if there is nothing to roll back to."""
    target = activation.target(pipeline)
    return {
        "rollback_target": target,
        "rollback_key": str(uuid.uuid4()),
        "rollback_is_breaking": needs_typing(pipeline, target),
        "rollback_refusal": f"Release {target.release_version} is {target.status}." if target else "",
        "may_roll_back": pages.may(request, Scope.ROLL_BACK, pipeline),
    }


@serves("<int:object_id>/rollback/", Act.RELEASE_ACTIVATE, Scope.ROLL_BACK, methods=POST)
def roll_back(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    """Roll the pipeline back to the release that the page offered. A repeated POST is the same rollback."""
    form = RollbackForm(request.POST)
    if form.is_valid():
        _roll_back(pages, request, queries.pipeline(pipeline.tenant, pipeline.pipeline_id), form)
    else:
        messages.error(request, "A rollback requires a reason of at most 1,000 characters. Nothing changed.")
    return redirect("admin:releases_pipeline_change", pipeline.pk)


def _roll_back(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, form: RollbackForm) -> None:
    fields = form.cleaned_data
    try:
        release = queries.release(pipeline, fields["release_version"])
        if wrong := not_typed(pipeline, release, fields[TYPED]):
            messages.error(request, f"{wrong} Nothing changed.")
            return
        event = activation.roll_back(
            pipeline,
            release=release,
            recent_only=not pages.may(request, Scope.ACTIVATE, pipeline),
            **form.operation(request),
        )
    except CoordinatorError as error:
        messages.error(request, f"{error.code}: {error.detail} Nothing changed.")
        return
    messages.success(
        request, f"Rolled back: release {event.release.release_version} is active for new executions of {pipeline}."
    )
    for warning in activation.warnings(event.release):
        messages.warning(request, warning)
