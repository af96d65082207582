"""REST: the activations of a pipeline."""

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Flag, Identifier, SegmentIdentifier, StrictSerializer, Text
from governance.activation import activation, gates
from releases import errors, queries
from releases.api.history import ActivationView
from releases.models import IDENTITY_LENGTH, Activation
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class ExpectingRequest(StrictSerializer):
    """A request for an activation, which may say what it expects, and can be repeated."""

    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
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
    operationKey = Identifier(source="operation_key", max_length=200, required=False, allow_null=True, default=None)


class ActivationRequest(ExpectingRequest):
    override = Flag(
        required=False,
        default=False,
        help_text="An emergency: activate without approvals. Needs a reason, the scope `tenant:administer`, and the "
        "policy `emergencyOverride`.",
    )


@extend_schema(parameters=[TENANT], tags=["activations"])
class Activations(TenantView, ListAPIView[Activation]):
    """The activations of the pipeline, newest first."""

    refusals: ClassVar = {
        "GET": (errors.PipelineUnknown,),
        "POST": (
            errors.PipelineUnknown,
            errors.ReleaseUnknown,
            errors.ReleaseNotRegistered,
            errors.ArtifactMissing,
            errors.ArtifactStoreUnavailable,
            errors.ArtifactAltered,
            errors.ActiveReleaseChanged,
            errors.OperationKeyReused,
            *gates.REFUSALS,
        ),
    }
    serializer_class = ActivationView
    ordering = "-sequence"
    queryset = Activation.objects.none()

    def get_queryset(self) -> Any:
        return queries.history(queries.pipeline(self.tenant, self.kwargs["pipeline_id"]))

    @declares(Act.RELEASE_ACTIVATE, Scope.ACTIVATE)
    @extend_schema(operation_id="activate", request=ActivationRequest, responses={201: ActivationView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Make a registered release active for new executions. Existing executions keep their release."""
        body = ActivationRequest.validated(request.data)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        if body["override"]:
            self.require(Scope.ADMINISTER)
        release = queries.release(pipeline, body.pop("releaseVersion"))
        event = activation.activate(release, actor=self.actor, **body)
        return Response(ActivationView(event).data, status=status.HTTP_201_CREATED)


class RollbackRequest(ExpectingRequest):
    releaseVersion = SegmentIdentifier(
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


@extend_schema(parameters=[TENANT], tags=["activations"])
class Rollbacks(TenantView):
    refusals: ClassVar = {
        "POST": (*Activations.refusals["POST"], errors.NothingToRollBackTo, errors.NoRollback, errors.RollbackTooFar)
    }

    @declares(Act.RELEASE_ACTIVATE, Scope.ROLL_BACK)
    @extend_schema(operation_id="rollBack", request=RollbackRequest, responses={201: RollbackView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Make a release active again that was active before. Existing executions keep their release.

        Without the scope `releases:activate`, the release must have been active within the pipeline's `rollBackDays`.
        """
        body = RollbackRequest.validated(request.data)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        version = body.pop("releaseVersion")
        release = None if version is None else queries.release(pipeline, version)
        recent_only = Scope.ACTIVATE not in self.token.usable_scopes
        event = activation.roll_back(pipeline, actor=self.actor, release=release, recent_only=recent_only, **body)
        warnings = activation.warnings(event.release)
        return Response({**ActivationView(event).data, "warnings": warnings}, status=status.HTTP_201_CREATED)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/activations", Activations.as_view(), name="activations"),
    path("pipelines/<str:pipeline_id>/rollback", Rollbacks.as_view(), name="rollback"),
]
