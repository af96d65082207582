"""The page that confirms an activation, and the page that rolls a pipeline back."""

import uuid
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from executions.statistics import KEPT_DAYS
from foundation.errors import CoordinatorError
from governance.activation import activation, gates
from governance.activation.gates import Switch, Verdict
from governance.reports import comparison
from governance.reports.pages import preview
from governance.reports.preflight import preflight_of
from governance.reports.rollback_targets import rollback
from releases import queries
from releases.models import IDENTITY_LENGTH, Activation, Kind, Pipeline, Release
from releases.states import UNDECIDED, Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import READ, ReadOnlyAdmin, problem_of, serves
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
    may_override = (
        not is_approved and pipeline.emergency_override and pages.has_scope(request, Scope.ADMINISTER, release)
    )
    needs_request = not is_approved and not may_override
    report, waived = preflight_of(switch, judged), gates.APPROVAL if may_override else ""
    of_gates = [gate.refusal for gate in refusing]
    return {
        **_change(release, switch),
        "is_registered": release.status == Status.REGISTERED,
        "preview": preview(report),
        "unfit": [refusal for refusal in report.refusals if refusal not in of_gates],
        "refusing": [gate for gate in refusing if gate.name != waived],
        "waived": waived,
        "is_breaking": needs_typing(pipeline, release),
        "needs_request": needs_request,
        "request_variant": "primary" if needs_request else "default",
        "requests": release.activation_requests.filter(status__in=UNDECIDED)
        .select_related("requester")
        .order_by("created_at"),
        "may_override": may_override,
        "operation_key": str(uuid.uuid4()),
        "reason": form.data.get("reason", "") if form else "",
        "typed_version": form.data.get(TYPED, "") if form else "",
        "form_errors": form.errors if form else {},
    }


# --- rollbacks ---


class RollbackForm(OperationForm):
    """`release_version` is one of the releases that the page offered."""

    release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    reason = forms.CharField(max_length=REASON_LENGTH)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)


@serves("<int:object_id>/rollback/", Act.RELEASE_ACTIVATE, Scope.ROLL_BACK)
def roll_back(pages: ReadOnlyAdmin, request: HttpRequest, row: Pipeline) -> HttpResponse:
    """GET shows the releases that were active before, POST rolls back to one. A repeated POST is the same rollback.

    The query may name the release to select, as `to`.
    """
    pipeline = queries.pipeline(row.tenant, row.pipeline_id)
    if request.method != "POST":
        return _targets(pages, request, pipeline)
    form = RollbackForm(request.POST)
    if not form.is_valid():
        return _targets(pages, request, pipeline, form, 400)
    try:
        event = _rolled_back(pages, request, pipeline, form)
    except CoordinatorError as error:
        # Read the pipeline again, so that the page shows its current state.
        pipeline = queries.pipeline(row.tenant, row.pipeline_id)
        return _targets(pages, request, pipeline, form, error.status, problem_of(error))
    if event is None:
        return _targets(pages, request, pipeline, form, 400)
    messages.success(
        request, f"Rolled back: release {event.release.release_version} is active for new executions of {pipeline}."
    )
    for warning in activation.warnings(event.release):
        messages.warning(request, warning)
    return redirect("admin:releases_pipeline_change", pipeline.pk)


def _rolled_back(
    pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, form: RollbackForm
) -> Activation | None:
    """Roll back as the valid form says. Return None, with an error in the form, if a version must be typed."""
    release = queries.release(pipeline, form.cleaned_data["release_version"])
    if wrong := not_typed(pipeline, release, form.cleaned_data[TYPED]):
        form.add_error(TYPED, wrong)
        return None
    recent_only = _recent_only(pages, request, pipeline)
    return activation.roll_back(pipeline, release=release, recent_only=recent_only, **form.operation(request))


def _recent_only(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> bool:
    return not pages.has_scope(request, Scope.ACTIVATE, pipeline)


def _targets(
    pages: ReadOnlyAdmin,
    request: HttpRequest,
    pipeline: Pipeline,
    form: RollbackForm | None = None,
    status: int = 200,
    problem: Any = None,
) -> HttpResponse:
    """Return the page with the releases to choose from, and with the form if it was refused."""
    named = form.data.get("release_version") if form else request.GET.get("to")
    offer = rollback(pipeline, recent_only=_recent_only(pages, request, pipeline), named=named)
    proposed = offer.proposed.release.release_version if offer.proposed else ""
    return pages.page(
        request,
        "releases/roll_back.html",
        title=f"Roll back {pipeline}",
        original=pipeline,
        status=status,
        problem=problem,
        pipeline=pipeline,
        found=offer,
        chosen=named or proposed,
        is_breaking=any(target.is_breaking for target in offer.targets),
        kept_days=KEPT_DAYS,
        operation_key=str(uuid.uuid4()),
        form=form,
        reason=form.data.get("reason", "") if form else "",
        typed_version=form.data.get(TYPED, "") if form else "",
    )
