"""The form on the page of a pipeline that rolls it back in one step."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import rollback
from releases.admin import confirmations
from releases.models import IDENTITY_LENGTH, Activation, Pipeline
from tenancy.access import actor
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.models import validate_identifier
from tenancy.roles import Scope


class RollbackForm(forms.Form):
    """The release that the page offered, the one that it showed as active, the page's operation key, and the reason."""

    release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    expected_release_version = forms.CharField(strip=False, max_length=IDENTITY_LENGTH)
    operation_key = forms.CharField(max_length=200, validators=[validate_identifier])
    reason = forms.CharField(max_length=Activation._meta.get_field("reason").max_length)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)


def offered(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> dict[str, Any]:
    """Return the context of the form. Its `rollback_target` is None if there is nothing to roll back to."""
    target = rollback.target(pipeline)
    return {
        "rollback_target": target,
        "rollback_key": str(uuid.uuid4()),
        "rollback_is_breaking": confirmations.is_needed(pipeline, target),
        "rollback_refusal": f"Release {target.release_version} is {target.status}." if target else "",
        "may_roll_back": pages.may(request, Scope.ROLL_BACK, pipeline),
    }


def roll_back(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    """Roll the pipeline back to the release that the page offered. A repeated POST is the same rollback."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not pages.may(request, Scope.ROLL_BACK, pipeline):
        raise PermissionDenied
    form = RollbackForm(request.POST)
    if form.is_valid():
        _roll_back(pages, request, queries.pipeline(pipeline.tenant, pipeline.pipeline_id), form.cleaned_data)
    else:
        messages.error(request, "A rollback requires a reason of at most 1,000 characters. Nothing changed.")
    return redirect("admin:releases_pipeline_change", pipeline.pk)


def _roll_back(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline, fields: dict[str, str]) -> None:
    try:
        release = queries.release(pipeline, fields["release_version"])
        if wrong := confirmations.missing(pipeline, release, fields[confirmations.FIELD]):
            messages.error(request, f"{wrong} Nothing changed.")
            return
        event = rollback.roll_back(
            pipeline,
            actor=actor(request.user),
            reason=fields["reason"],
            release=release,
            recent_only=not pages.may(request, Scope.ACTIVATE, pipeline),
            expected_release_version=fields["expected_release_version"],
            operation_key=fields["operation_key"],
        )
    except CoordinatorError as error:
        messages.error(request, f"{error.code}: {error.detail} Nothing changed.")
        return
    messages.success(
        request, f"Rolled back: release {event.release.release_version} is active for new executions of {pipeline}."
    )
    for warning in rollback.warnings(event.release):
        messages.warning(request, warning)
