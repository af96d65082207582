"""REST: rollbacks of a pipeline."""

from typing import ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import SegmentIdentifier, Text
from releases import queries
from releases.activation import rollback
from releases.api.activations import Activations, ActivationView, ExpectingRequest
from releases.errors import NoRollback, NothingToRollBackTo, RollbackTooFar
from releases.models import IDENTITY_LENGTH
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


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
    refusals: ClassVar = {"POST": (*Activations.refusals["POST"], NothingToRollBackTo, NoRollback, RollbackTooFar)}

    @declares(Act.RELEASE_ACTIVATE, Scope.ROLL_BACK)
    @extend_schema(operation_id="rollBack", request=RollbackRequest, responses={201: RollbackView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Make a release active again that was active before. Existing executions keep their release.

        Without the scope `releases:activate`, the release must have been active within the pipeline's `rollBackDays`.
        """
        body = RollbackRequest.validated(request.data)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        version = body["releaseVersion"]
        event = rollback.roll_back(
            pipeline,
            actor=self.actor,
            reason=body["reason"],
            release=None if version is None else queries.release(pipeline, version),
            recent_only=Scope.ACTIVATE not in self.token.usable_scopes,
            expected_release_version=body["expectedReleaseVersion"],
            operation_key=body["operationKey"],
        )
        warnings = rollback.warnings(event.release)
        return Response({**ActivationView(event).data, "warnings": warnings}, status=status.HTTP_201_CREATED)


urlpatterns = [path("pipelines/<str:pipeline_id>/rollback", Rollbacks.as_view(), name="rollback")]
