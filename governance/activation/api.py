"""REST: the activations of a pipeline."""

from typing import Any

from django.urls import path
from rest_framework import serializers, status
from rest_framework.response import Response

from foundation.api.fields import Flag, Identifier, SegmentIdentifier, StrictSerializer, Text
from governance.activation import activation, gates
from releases import errors, queries
from releases.api import ActivationView
from releases.models import IDENTITY_LENGTH, Activation
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

OPERATION_KEY_HELP = "Requests with the same key are carried out once."


class ExpectingRequest(StrictSerializer):
    """A request for an activation, which may say what it expects, and can be repeated."""

    releaseVersion = SegmentIdentifier(source="release_version", max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000, required=False, default="", allow_blank=True)
    expectedReleaseVersion = SegmentIdentifier(
        source="expected_release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text='Reject the request unless this release is active, or none if "".',
    )
    operationKey = Identifier(
        source="operation_key",
        max_length=200,
        required=False,
        allow_null=True,
        default=None,
        help_text=OPERATION_KEY_HELP,
    )


class ActivationRequest(ExpectingRequest):
    override = Flag(
        required=False,
        default=False,
        help_text="An emergency: activate without approvals. Needs a reason, the scope `tenant:administer`, and the "
        "policy `emergencyOverride`.",
    )


REFUSALS = (
    errors.PipelineUnknown,
    errors.ReleaseUnknown,
    errors.ReleaseNotRegistered,
    errors.ArtifactMissing,
    errors.ArtifactStoreUnavailable,
    errors.ArtifactAltered,
    errors.ActiveReleaseChanged,
    errors.OperationKeyReused,
    *gates.REFUSALS,
)
"""The errors of each change of the active release."""


@listing("activations", Activation, ActivationView, ordering="-sequence")
@refuses(errors.PipelineUnknown)
def activations(view: TenantView, pipeline_id: str) -> Any:
    """The activations of the pipeline, newest first."""
    return queries.history(queries.pipeline(view.tenant, pipeline_id))


@operation("activations", "activate", {201: ActivationView}, body=ActivationRequest)
@declares(Act.RELEASE_ACTIVATE, Scope.ACTIVATE)
@refuses(*REFUSALS)
def activate(view: TenantView, pipeline_id: str, release_version: str, override: bool, **body: Any) -> Any:
    """Make a registered release active for new executions. Existing executions keep their release."""
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    if override:
        view.require(Scope.ADMINISTER)
    release = queries.release(pipeline, release_version)
    return activation.activate(release, actor=view.actor, override=override, **body)


class RollbackRequest(ExpectingRequest):
    releaseVersion = SegmentIdentifier(
        source="release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="A release that was active before. By default, the one that the active release replaced.",
    )
    reason = Text(max_length=1000)


class RollbackView(ActivationView):
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What is wrong with the release, for example that no worker hosts it."
    )


@operation("activations", "rollBack", {201: RollbackView}, body=RollbackRequest)
@declares(Act.RELEASE_ACTIVATE, Scope.ROLL_BACK)
@refuses(*REFUSALS, errors.NothingToRollBackTo, errors.NoRollback, errors.RollbackTooFar)
def roll_back(view: TenantView, pipeline_id: str, release_version: str | None, **body: Any) -> Any:
    """Make a release active again that was active before. Existing executions keep their release.

    Without the scope `releases:activate`, the release must have been active within the pipeline's `rollBackDays`.
    """
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    release = None if release_version is None else queries.release(pipeline, release_version)
    recent_only = Scope.ACTIVATE not in view.token.usable_scopes
    event = activation.roll_back(pipeline, actor=view.actor, release=release, recent_only=recent_only, **body)
    warnings = activation.warnings(event.release)
    return Response({**ActivationView(event).data, "warnings": warnings}, status=status.HTTP_201_CREATED)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/activations", either(activations, activate), name="activations"),
    path("pipelines/<str:pipeline_id>/rollback", roll_back, name="rollback"),
]
