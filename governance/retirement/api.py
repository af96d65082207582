"""REST: revocations of releases, what still needs a release, and retirements."""

from typing import Any, ClassVar
from urllib.parse import urlencode

from django.urls import path, reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text
from foundation.errors import InvalidRequest
from governance.retirement import revocation
from governance.retirement.retirement import FAILURES, REQUESTS, STATUSES, Blocker, Kind, blockers, retire
from governance.retirement.revocation import Order
from releases import queries
from releases.api.releases import RetirementView, RevocationView
from releases.errors import PipelineUnknown, ReasonRequired, ReleaseNotRegistered, ReleaseUnknown, RetirementBlocked
from releases.models import IDENTITY_LENGTH, Release
from releases.states import Status
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


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
        body = RevocationRequest.validated(request.data)
        release = queries.release(queries.pipeline(self.tenant, pipeline_id), body["releaseVersion"])
        order = Order(body["openExecutions"])
        event = revocation.revoke(release, actor=self.actor, reason=body["reason"], open_executions=order)
        return Response(RevocationView(event).data, status=status.HTTP_201_CREATED)


class RetirementRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000)
    ignoreFailures = Flag(required=False, default=False, help_text="Give up failures that could still be re-driven.")


class BlockersRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)


class BlockerView(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    count = serializers.IntegerField()
    ignorable = serializers.BooleanField(help_text="Whether `ignoreFailures` gives these rows up.")
    href = serializers.CharField(help_text="The list of exactly these rows.")


class RetirementAnswerView(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField()
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    safe = serializers.BooleanField(help_text="Whether the release is registered and nothing needs it.")
    blockers = BlockerView(many=True)


@extend_schema(parameters=[TENANT], tags=["releases"])
class Retirements(TenantView):
    refusals: ClassVar = {
        "GET": (InvalidRequest, PipelineUnknown, ReleaseUnknown),
        "POST": (PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered, ReasonRequired, RetirementBlocked),
    }

    @extend_schema(
        operation_id="retirementBlockers",
        parameters=[OpenApiParameter("releaseVersion", {"type": "string", "minLength": 1}, required=True)],
        responses=RetirementAnswerView,
    )
    def get(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Whether a release is safe to retire, and everything that still needs it."""
        pipeline = queries.pipeline(self.tenant, pipeline_id)
        query = BlockersRequest.validated(request.query_params.dict())
        release = queries.release(pipeline, query["releaseVersion"])
        found = blockers(release)
        answer = {
            "releaseVersion": release.release_version,
            "status": release.status,
            "safe": release.status == Status.REGISTERED and not found,
            "blockers": [_blocker(tenant, release, each) for each in found],
        }
        return Response(RetirementAnswerView(answer).data)

    @declares(Act.RELEASE_RETIRE, Scope.ACTIVATE)
    @extend_schema(operation_id="retire", request=RetirementRequest, responses={201: RetirementView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Retire a release that nothing needs, permanently. Its artifacts and its workers may go afterwards."""
        body = RetirementRequest.validated(request.data)
        release = queries.release(queries.pipeline(self.tenant, pipeline_id), body["releaseVersion"])
        event = retire(release, actor=self.actor, reason=body["reason"], give_up_failures=body["ignoreFailures"])
        return Response(RetirementView(event).data, status=status.HTTP_201_CREATED)


def _blocker(tenant: str, release: Release, blocker: Blocker) -> dict[str, Any]:
    return {
        "kind": blocker.kind.value,
        "count": blocker.count,
        "ignorable": blocker.kind in FAILURES,
        "href": _href(tenant, release, blocker.kind),
    }


def _href(tenant: str, release: Release, kind: Kind) -> str:
    pipeline_id = release.pipeline.pipeline_id
    if kind is Kind.GRADUAL:
        return reverse("api:gradual-activations", args=(tenant, pipeline_id))
    if kind in {Kind.ACTIVE, Kind.SKEW_GRACE}:
        return reverse("api:pipeline", args=(tenant, pipeline_id))
    pin = {"pipelineId": pipeline_id, "releaseVersion": release.release_version}
    if kind in REQUESTS:
        query = urlencode({"releaseVersion": release.release_version, "status": REQUESTS[kind].value})
        return f"{reverse('api:activation-requests', args=(tenant, pipeline_id))}?{query}"
    if kind is Kind.CAMPAIGN:
        return f"{reverse('api:campaigns', args=(tenant,))}?{urlencode(pin)}"
    rows = pin | {"status": STATUSES[kind]} | ({"smoke": "false"} if kind in FAILURES else {})
    return f"{reverse('api:executions', args=(tenant,))}?{urlencode(rows)}"


urlpatterns = [
    path("pipelines/<str:pipeline_id>/revocations", Revocations.as_view(), name="revocations"),
    path("pipelines/<str:pipeline_id>/retirements", Retirements.as_view(), name="retirements"),
]
