"""REST: the workers of one tenant, their histories, drains, and the work that has no worker."""

from dataclasses import asdict
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api.executions import TENANT, PinView
from executions.errors import (
    WorkerBeatsItself,
    WorkerEndpointInvalid,
    WorkerEndpointRefused,
    WorkerLimitReached,
    WorkerUnknown,
)
from executions.models import Worker, WorkerEligibility, WorkerEvent
from executions.transports.rest import workers
from executions.workers import registry
from executions.workers.stranded import Stranded, stranded
from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer, Text
from releases.models import IDENTITY_LENGTH
from tenancy.api.tenant_view import TenantView
from tenancy.roles import Scope
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import LONGEST_WORKER_ID

STATES = WorkerEligibility.State.choices
REASONS = WorkerEligibility.Reason.choices


class WorkerView(serializers.Serializer[Worker]):
    workerId = serializers.CharField(source="worker_id")
    pin = PinView(source="*")
    protocol = serializers.CharField(help_text="`celery` takes commands from the broker; `rest` is called over HTTP.")
    endpoint = serializers.CharField(help_text="Where a `rest` worker is called; empty for others.")
    state = serializers.ChoiceField(choices=STATES, source="eligibility.state")
    ineligibleReason = serializers.ChoiceField(
        choices=REASONS,
        source="eligibility.reason",
        allow_null=True,
        help_text="Why the worker gets no work of its release; null if it may run the release.",
    )
    capacity = serializers.IntegerField()
    taking = serializers.BooleanField(help_text="Whether it takes commands, by its own last word.")
    holding = serializers.IntegerField(help_text="How many transitions it held at its last heartbeat.")
    running = serializers.IntegerField(help_text="How many of these a thread had begun; the others waited for one.")
    abandoned = serializers.IntegerField(
        help_text="How many threads still ran transitions that were cancelled or taken over. They get no work."
    )
    artifactId = serializers.CharField(source="artifact_id")
    artifactDigest = serializers.CharField(source="artifact_digest")
    registeredAt = serializers.DateTimeField(source="registered_at")
    lastHeartbeatAt = serializers.DateTimeField(source="last_heartbeat_at")
    drainingSince = serializers.DateTimeField(
        source="draining_since", allow_null=True, help_text="Since when the worker itself drains."
    )
    drainedByOperatorAt = serializers.DateTimeField(source="drained_by_operator_at", allow_null=True)
    stoppedAt = serializers.DateTimeField(source="stopped_at", allow_null=True)
    capabilityCheckedAt = serializers.DateTimeField(
        source="capability_checked_at",
        allow_null=True,
        help_text="When a `rest` worker was last asked what it hosts. Submissions need a recent successful check.",
    )
    capabilityError = serializers.CharField(
        source="capability_error", help_text="Why that check failed; empty if the worker hosts its release."
    )


class WorkerEventView(serializers.Serializer[WorkerEvent]):
    state = serializers.ChoiceField(choices=STATES)
    actor = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # the wire's word; DRF's `data` is a property
    at = serializers.DateTimeField()


class StrandedView(serializers.Serializer[Any]):
    pin = PinView(source="*")
    executions = serializers.IntegerField(source="count")
    since = serializers.DateTimeField(
        help_text="When the last worker of the release took work, or the oldest became due, whichever is later."
    )
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=REASONS),
        help_text="Why the workers of the release get no work, each reason once; empty if no worker names the release.",
    )


class StrandedList(serializers.Serializer[Any]):
    items = StrandedView(many=True)


class DrainRequest(StrictSerializer):
    reason = Text(max_length=1000, required=False, default="", allow_blank=True)


class RegisterRequest(StrictSerializer):
    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    contractVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    workerId = SegmentIdentifier(max_length=LONGEST_WORKER_ID)
    endpoint = Text(max_length=2000, help_text="Its origin, without a path. REST_WORKER_ORIGINS must allow it.")
    artifactId = Identifier(max_length=IDENTITY_LENGTH, required=False, default="", allow_blank=True)
    artifactDigest = Identifier(max_length=IDENTITY_LENGTH, required=False, default="", allow_blank=True)


class WorkerFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="pipeline_id")
    releaseVersion = filters.CharFilter(field_name="release_version")
    state = filters.ChoiceFilter(choices=STATES, method="of_state")

    def of_state(self, rows: Any, name: str, value: str) -> Any:
        return rows.filter(eligibility__state=value)


@extend_schema(parameters=[TENANT], tags=["workers"])
class Workers(TenantView, ListAPIView[Worker]):
    """The tenant's workers, with what each hosts and whether it is alive."""

    scopes: ClassVar = {"POST": Scope.OPERATE}
    refusals: ClassVar = {"POST": (WorkerEndpointInvalid, WorkerEndpointRefused, WorkerBeatsItself, WorkerLimitReached)}
    serializer_class = WorkerView
    filterset_class = WorkerFilter
    queryset = Worker.objects.none()

    def get_queryset(self) -> Any:
        return Worker.objects.select_related("eligibility").filter(tenant=self.tenant)

    @extend_schema(operation_id="registerWorker", request=RegisterRequest, responses=WorkerView, filters=False)
    def post(self, request: Request, tenant: str) -> Response:
        """Make a worker known that is called over HTTP, healthy as of now.

        Under a known id it replaces all that was told, and ends a drain. Workers on the broker register themselves.
        """
        asked = RegisterRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        told = asked.validated_data
        identity = ReleaseIdentity(
            self.tenant.slug, told["pipelineId"], told["contractVersion"], told["releaseVersion"]
        )
        made = workers.admit(
            self.tenant,
            identity,
            worker_id=told["workerId"],
            endpoint=told["endpoint"],
            artifact_id=told["artifactId"],
            artifact_digest=told["artifactDigest"],
            actor=self.actor,
        )
        return Response(WorkerView(made).data)


@extend_schema(parameters=[TENANT], tags=["workers"])
class WorkerEvents(TenantView, ListAPIView[WorkerEvent]):
    """Every change of the worker's state, newest first."""

    refusals: ClassVar = {"GET": (WorkerUnknown,)}
    serializer_class = WorkerEventView
    queryset = WorkerEvent.objects.none()

    def get_queryset(self) -> Any:
        return registry.find(self.tenant, self.kwargs["pipeline_id"], self.kwargs["worker_id"]).events.all()


@extend_schema(parameters=[TENANT], tags=["workers"])
class Heartbeat(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    refusals: ClassVar = {"POST": (WorkerUnknown, WorkerBeatsItself)}

    @extend_schema(operation_id="beatForWorker", request=None, responses=WorkerView)
    def post(self, request: Request, tenant: str, pipeline_id: str, worker_id: str) -> Response:
        """Note that a worker which is called over HTTP is alive. A drain stays."""
        made = workers.heartbeat_for(self.tenant, pipeline_id, worker_id, actor=self.actor)
        return Response(WorkerView(made).data)


@extend_schema(parameters=[TENANT], tags=["workers"])
class Drain(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    refusals: ClassVar = {"POST": (WorkerUnknown,)}

    @extend_schema(operation_id="drainWorker", request=DrainRequest, responses=WorkerView)
    def post(self, request: Request, tenant: str, pipeline_id: str, worker_id: str) -> Response:
        """Have the worker finish what it holds and take no more until it is undrained. Harmless to repeat.

        It is empty once it says that it is `taking` nothing and `holding` nothing.
        """
        reason = _reason(request)
        made = registry.drain(self.tenant, pipeline_id, worker_id, actor=self.actor, reason=reason)
        return Response(WorkerView(made).data)


@extend_schema(parameters=[TENANT], tags=["workers"])
class Undrain(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    refusals: ClassVar = {"POST": (WorkerUnknown,)}

    @extend_schema(operation_id="undrainWorker", request=DrainRequest, responses=WorkerView)
    def post(self, request: Request, tenant: str, pipeline_id: str, worker_id: str) -> Response:
        """Take an operator's drain back. Harmless to repeat."""
        reason = _reason(request)
        made = registry.undrain(self.tenant, pipeline_id, worker_id, actor=self.actor, reason=reason)
        return Response(WorkerView(made).data)


def _reason(request: Request) -> str:
    asked = DrainRequest(data=request.data)
    asked.is_valid(raise_exception=True)
    return str(asked.validated_data["reason"])


@extend_schema(parameters=[TENANT], tags=["workers"])
class StrandedWork(TenantView):
    @extend_schema(operation_id="strandedWork", responses=StrandedList)
    def get(self, request: Request, tenant: str) -> Response:
        """Due executions whose release no worker may run: which release, how many, since when, and why."""
        found: list[Stranded] = stranded([self.tenant.pk])
        return Response(StrandedList({"items": [asdict(each) for each in found]}).data)


urlpatterns = [
    path("workers", Workers.as_view(), name="workers"),
    path("workers/<str:pipeline_id>/<path:worker_id>/events", WorkerEvents.as_view(), name="worker-events"),
    path("workers/<str:pipeline_id>/<path:worker_id>/heartbeat", Heartbeat.as_view(), name="worker-heartbeat"),
    path("workers/<str:pipeline_id>/<path:worker_id>/drain", Drain.as_view(), name="worker-drain"),
    path("workers/<str:pipeline_id>/<path:worker_id>/undrain", Undrain.as_view(), name="worker-undrain"),
    path("stranded", StrandedWork.as_view(), name="stranded"),
]
