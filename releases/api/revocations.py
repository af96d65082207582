"""REST: revocations of releases."""

from typing import ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import SegmentIdentifier, StrictSerializer, Text
from releases import queries
from releases.activation import revocation
from releases.activation.revocation import Order
from releases.errors import PipelineUnknown, ReasonRequired, ReleaseNotRegistered, ReleaseUnknown
from releases.models import IDENTITY_LENGTH, Revocation
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class RevocationView(serializers.Serializer[Revocation]):
    releaseVersion = serializers.CharField(source="release.release_version")
    actor = serializers.CharField()
    reason = serializers.CharField()
    revokedAt = serializers.DateTimeField(source="revoked_at")
    openExecutions = serializers.ChoiceField(
        choices=Order.choices,
        source="open_executions",
        help_text="The order about the executions that are open: `leave` lets them run, `pause` pauses the release, "
        "`fail` ends them.",
    )
    failedExecutions = serializers.IntegerField(
        source="failed_executions", help_text="How many executions the order `fail` has ended so far."
    )
    completedAt = serializers.DateTimeField(
        source="completed_at",
        allow_null=True,
        help_text="When the order `fail` found no more open executions. Null before that, and for other orders.",
    )


class RevocationRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000)
    openExecutions = serializers.ChoiceField(
        choices=Order.choices,
        required=False,
        default=Order.LEAVE.value,
        help_text="`pause` pauses the release, so that its open executions wait until it is resumed. `fail` ends them "
        "with the code RELEASE_REVOKED.",
    )


@extend_schema(parameters=[TENANT], tags=["releases"])
class Revocations(TenantView):
    refusals: ClassVar = {"POST": (PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered, ReasonRequired)}

    @declares(Act.RELEASE_REVOKE, Scope.ACTIVATE)
    @extend_schema(operation_id="revoke", request=RevocationRequest, responses={201: RevocationView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Revoke a registered release permanently. The order `openExecutions` decides about its open executions."""
        body = RevocationRequest(data=request.data)
        body.is_valid(raise_exception=True)
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        release = queries.release(pipeline, body.validated_data["releaseVersion"])
        event = revocation.revoke(
            release,
            actor=self.actor,
            reason=body.validated_data["reason"],
            open_executions=Order(body.validated_data["openExecutions"]),
        )
        return Response(RevocationView(event).data, status=status.HTTP_201_CREATED)


urlpatterns = [path("pipelines/<str:pipeline_id>/revocations", Revocations.as_view(), name="revocations")]
