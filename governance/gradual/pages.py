"""The card on the page of a pipeline that requests, starts, shows, promotes and withdraws a gradual activation."""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from foundation.errors import InvalidRequest
from governance.activation.pages import REASON_LENGTH, TYPED, OperationForm, not_typed
from governance.gradual import changes, operations
from governance.gradual.evidence import evidence
from governance.gradual.plan import Bounds, Plan, Step
from governance.requests import requests
from governance.requests.pages import outcome
from releases import queries
from releases.errors import GradualActivationUnknown
from releases.models import IDENTITY_LENGTH, GradualActivation, Pipeline, Release
from releases.states import Status
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, attempt, serves, wrong_fields
from tenancy.roles import Scope

ONE = "<int:object_id>/gradual/<uuid:gradual_id>"
MOST_CANDIDATES = 50
STEPS = "5 50 10\n25 100 30\n50 200 30"
"""The steps that the form proposes: share in percent, minimum sample, minimum minutes."""


class StepForm(OperationForm):
    expected_step = forms.IntegerField()


class WithdrawalForm(OperationForm):
    reason = forms.CharField(max_length=REASON_LENGTH)


class StartForm(OperationForm):
    release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    steps = forms.CharField(max_length=2000)
    tags = forms.CharField(required=False, max_length=4000)
    tokens = forms.CharField(required=False, max_length=4000)
    failure_percentage_points = forms.FloatField(initial=Bounds().failure_percentage_points)
    duration_factor = forms.FloatField(initial=Bounds().duration_factor)
    significance = forms.FloatField(initial=Bounds().significance)
    request = forms.BooleanField(required=False)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)

    def clean_steps(self) -> tuple[Step, ...]:
        try:
            return tuple(_step(line) for line in self.cleaned_data["steps"].splitlines() if line.strip())
        except ValueError:
            raise ValidationError("Each line has a share, a minimum sample and minimum minutes, as numbers.") from None

    @property
    def plan(self) -> Plan:
        """The plan. Raises `GradualActivationInvalid`."""
        sent = self.cleaned_data
        bounds = Bounds(sent["failure_percentage_points"], sent["duration_factor"], sent["significance"])
        return Plan(sent["steps"], _names(sent["tags"]), _names(sent["tokens"]), bounds)


def _step(line: str) -> Step:
    share, sample, minutes = line.split()
    return Step(float(share), int(sample), int(minutes))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def shown(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> dict[str, Any]:
    """Return the context of the card."""
    newest = operations.all_of(pipeline).first()
    gradual = newest if newest is not None and newest.status == GradualActivation.Status.RUNNING else None
    context: dict[str, Any] = {
        "gradual": gradual,
        "gradual_key": str(uuid.uuid4()),
        "may_withdraw": pages.has_scope(request, Scope.ROLL_BACK, pipeline),
    }
    if gradual is not None:
        plan = operations.plan_of(gradual)
        current, following = plan.steps[gradual.step], plan.steps[gradual.step + 1 :]
        return {
            **context,
            "gradual_plan": plan,
            "gradual_step": current,
            "gradual_next": following[0] if following else None,
            "gradual_evidence": evidence(gradual),
        }
    return {
        **context,
        "candidates": _candidates(pipeline) if pages.has_scope(request, Scope.ACTIVATE, pipeline) else [],
        "proposed_steps": STEPS,
        "bounds": Bounds(),
        "last_gradual": newest,
    }


def _candidates(pipeline: Pipeline) -> list[Release]:
    """Return the newest registered releases that are not active; none if no release is active."""
    if pipeline.activation is None:
        return []
    rows = pipeline.releases.filter(status=Status.REGISTERED).exclude(pk=pipeline.activation.release_id)
    return list(rows.only("pipeline", "release_version").order_by("-id")[:MOST_CANDIDATES])


@serves("<int:object_id>/gradual/", Act.GRADUAL_ACTIVATION_START, Scope.ACTIVATE, methods=POST)
def begin(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    """Start a gradual activation, or request it. A repeated POST is the same start or request."""

    def act(form: StartForm) -> str:
        fields = form.cleaned_data
        current = queries.pipeline(pipeline.tenant, pipeline.pipeline_id)
        candidate = queries.release(current, fields["release_version"])
        if wrong := not_typed(current, candidate, fields[TYPED]):
            raise InvalidRequest(wrong)
        if fields["request"]:
            how = {**form.operation(request), "requester": request.user}
            return outcome(requests.ask(candidate, plan=form.plan, **how))
        changes.start(candidate, form.plan, **form.operation(request))
        return f"Release {candidate.release_version} gets its share of new executions of {pipeline}."

    return _operate(request, pipeline, StartForm(request.POST), act, tab="releases")


@serves(f"{ONE}/step/", Act.GRADUAL_ACTIVATION_STEP, Scope.ACTIVATE, methods=POST)
def step(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, gradual_id: uuid.UUID) -> HttpResponse:
    def act(form: StepForm) -> str:
        gradual = _one(pipeline, gradual_id)
        moved = changes.move_on(gradual, **form.operation(request), expected_step=form.cleaned_data["expected_step"])
        share = operations.plan_of(moved).steps[moved.step].share
        return f"Release {gradual.candidate.release_version} gets {share:g} % of new executions of {pipeline}."

    return _operate(request, pipeline, StepForm(request.POST), act)


@serves(f"{ONE}/promote/", Act.GRADUAL_ACTIVATION_PROMOTE, Scope.ACTIVATE, methods=POST)
def promote(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, gradual_id: uuid.UUID) -> HttpResponse:
    def act(form: OperationForm) -> str:
        gradual = changes.promote(_one(pipeline, gradual_id), **form.operation(request))
        return f"Release {gradual.candidate.release_version} is active for new executions of {pipeline}."

    return _operate(request, pipeline, OperationForm(request.POST), act)


@serves(f"{ONE}/withdraw/", Act.GRADUAL_ACTIVATION_WITHDRAW, Scope.ROLL_BACK, methods=POST)
def withdraw(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, gradual_id: uuid.UUID) -> HttpResponse:
    def act(form: WithdrawalForm) -> str:
        gradual = changes.withdraw(_one(pipeline, gradual_id), **form.operation(request))
        return f"Release {gradual.candidate.release_version} was withdrawn: it gets no further executions."

    return _operate(request, pipeline, WithdrawalForm(request.POST), act)


def _one(pipeline: Pipeline, gradual_id: uuid.UUID) -> GradualActivation:
    try:
        return operations.gradual_activation(pipeline, gradual_id)
    except GradualActivationUnknown:
        raise Http404 from None


def _operate(
    request: HttpRequest, pipeline: Pipeline, form: Any, act: Callable[[Any], str], tab: str = "overview"
) -> HttpResponse:
    """Do what a valid form asks for, and return to the page of the pipeline with a message: to `tab` if it fails."""
    if form.is_valid():
        if attempt(request, lambda: act(form), "{code}: {detail} Nothing changed."):
            tab = "overview"
    else:
        messages.error(request, f"{wrong_fields(form)} Nothing changed.")
    return redirect(f"{reverse('admin:releases_pipeline_change', args=[pipeline.pk])}?tab={tab}")
