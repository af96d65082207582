"""REST: the workers of a tenant, their histories and drains, and stranded work."""

from dataclasses import asdict
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions import errors
from executions.inspection.api import PinView
from executions.inspection.counts import PlannedRelease, Reason, worker_plan
from executions.inspection.fleet import Condition, Environment, FleetRelease, fleet
from executions.models import CodeOrigin, Worker, WorkerEligibility, WorkerEvent
from executions.transports.rest_workers import admit, heartbeat_for
from executions.workers import registry
from executions.workers.eligibility import stranded
from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer, Text
from releases.models import IDENTITY_LENGTH
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import LONGEST_WORKER_ID, MOST_DIFFERENCES

STATES = WorkerEligibility.State.choices
REASONS = WorkerEligibility.Reason.choices


OWN_VERSION_HELP = "The version of `durable-pipelines`. Empty if the worker does not report it."


class WorkerEnvironmentView(serializers.Serializer[Worker]):
    fingerprint = serializers.CharField(
        source="environment_fingerprint",
        help_text="Changes with the interpreter, the platform and every installed distribution.",
    )
    python = serializers.CharField(source="environment.python")
    platform = serializers.CharField(source="environment.platform")
    durablePipelines = serializers.CharField(
        source="environment.durablePipelines", default="", help_text=OWN_VERSION_HELP
    )
    differences = serializers.ListField(
        child=serializers.CharField(),
        source="environment.differences",
        help_text=f"How the environment differs from the one that the artifact requires, at most {MOST_DIFFERENCES}.",
    )
    differenceCount = serializers.IntegerField(
        source="environment.differenceCount", help_text="The number of differences, including those not listed."
    )


class WorkerView(serializers.Serializer[Worker]):
    workerId = serializers.CharField(source="worker_id")
    pin = PinView(source="*")
    protocol = serializers.CharField(
        help_text="A `celery` worker gets commands from the broker. A `rest` worker is called over HTTP."
    )
    endpoint = serializers.CharField(help_text="The URL at which a `rest` worker is called. Empty for others.")
    state = serializers.ChoiceField(choices=STATES, source="eligibility.state")
    ineligibleReason = serializers.ChoiceField(
        choices=REASONS,
        source="eligibility.reason",
        allow_null=True,
        help_text="Why the worker gets no work of its release. Null if it may run the release.",
    )
    capacity = serializers.IntegerField(
        help_text="The number of threads: as many as transitions may run at a time, and the `abandoned` ones."
    )
    taking = serializers.BooleanField(
        help_text="Whether the worker accepts commands, as reported by its last heartbeat."
    )
    holding = serializers.IntegerField(help_text="The number of transitions in progress at the last heartbeat.")
    running = serializers.IntegerField(
        help_text="How many of these a thread had started. The others waited for a thread."
    )
    abandoned = serializers.IntegerField(
        help_text="The number of threads that still ran transitions which were cancelled, given to others, or failed "
        "because a step exceeded its time limit."
    )
    artifactId = serializers.CharField(source="artifact_id")
    artifactDigest = serializers.CharField(
        source="artifact_digest",
        help_text="The digest of the artifact that the worker says it hosts. If the artifact is an image, the "
        "coordinator cannot tell whether the worker runs it.",
    )
    code = serializers.SerializerMethodField(
        help_text="Where the worker's code comes from: the release's artifact, a folder (`source`, unverified), or "
        "`image` if the release pins images only, with which no code can be compared. Null if the worker does not "
        "report it."
    )
    environment = serializers.SerializerMethodField(
        help_text="The worker's Python environment. Null if the worker does not report it."
    )
    registeredAt = serializers.DateTimeField(source="registered_at")
    lastHeartbeatAt = serializers.DateTimeField(source="last_heartbeat_at")
    drainingSince = serializers.DateTimeField(
        source="draining_since", allow_null=True, help_text="When the worker began to drain by its own decision."
    )
    drainedByOperatorAt = serializers.DateTimeField(source="drained_by_operator_at", allow_null=True)
    stoppedAt = serializers.DateTimeField(source="stopped_at", allow_null=True)
    capabilityCheckedAt = serializers.DateTimeField(
        source="capability_checked_at",
        allow_null=True,
        help_text="When the coordinator last checked what a `rest` worker hosts. Submissions need a recent success.",
    )
    capabilityError = serializers.CharField(
        source="capability_error", help_text="Why that check failed. Empty if the worker hosts its release."
    )

    @extend_schema_field(serializers.ChoiceField(choices=CodeOrigin.choices, allow_null=True))
    def get_code(self, worker: Worker) -> str | None:
        return worker.code or None

    @extend_schema_field(WorkerEnvironmentView(allow_null=True))
    def get_environment(self, worker: Worker) -> Any:
        return None if worker.environment is None else WorkerEnvironmentView(worker).data


class WorkerEventView(serializers.Serializer[WorkerEvent]):
    state = serializers.ChoiceField(choices=STATES)
    actor = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # the member's name; `data` is also a property of DRF
    at = serializers.DateTimeField()


class StrandedView(serializers.Serializer[Any]):
    pin = PinView(source="*")
    executions = serializers.IntegerField(source="count")
    since = serializers.DateTimeField(
        help_text="When a worker of the release last got work, or the oldest execution became due: the later of them."
    )
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=REASONS),
        help_text="Why the workers of the release get no work, each reason once. Empty if the release has no worker.",
    )


class StrandedList(serializers.Serializer[Any]):
    items = StrandedView(many=True)


class DrainRequest(StrictSerializer):
    reason = Text(max_length=1000, required=False, default="", allow_blank=True)


class RegisterRequest(StrictSerializer):
    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH, source="pipeline_id")
    contractVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH, source="contract_version", help_text="The contract of its release."
    )
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, source="release_version")
    workerId = SegmentIdentifier(
        max_length=LONGEST_WORKER_ID, source="worker_id", help_text="The id of the worker, unique in the pipeline."
    )
    endpoint = Text(
        max_length=2000, help_text="The origin of the worker, without a path. REST_WORKER_ORIGINS must allow it."
    )
    artifactId = Identifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        default="",
        allow_blank=True,
        source="artifact_id",
        help_text="The artifact that it hosts.",
    )
    artifactDigest = Identifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        default="",
        allow_blank=True,
        source="artifact_digest",
        help_text="The digest of this artifact.",
    )


class WorkerFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="pipeline_id")
    releaseVersion = filters.CharFilter(field_name="release_version")
    state = filters.ChoiceFilter(choices=STATES, method="of_state")

    def of_state(self, rows: Any, name: str, value: str) -> Any:
        return rows.filter(eligibility__state=value)


@listing("workers", Worker, WorkerView, WorkerFilter)
def workers(view: TenantView) -> Any:
    """The tenant's workers, with the release and the state of each."""
    return Worker.objects.select_related("eligibility").filter(tenant=view.tenant)


@operation("workers", "registerWorker", WorkerView, body=RegisterRequest)
@declares(Act.WORKER_REGISTER, Scope.OPERATE)
@refuses(
    errors.WorkerEndpointInvalid, errors.WorkerEndpointRefused, errors.WorkerBeatsItself, errors.WorkerLimitReached
)
def register_worker(
    view: TenantView, pipeline_id: str, contract_version: str, release_version: str, **members: str
) -> Any:
    """Register a worker that is called over HTTP. It is healthy from now on.

    If the id is registered already, this replaces all of its members and ends a drain. Workers that use the broker
    register themselves.
    """
    identity = ReleaseIdentity(view.tenant.slug, pipeline_id, contract_version, release_version)
    return admit(view.tenant, identity, actor=view.actor, **members)


@listing("workers", WorkerEvent, WorkerEventView)
@refuses(errors.WorkerUnknown)
def worker_events(view: TenantView, pipeline_id: str, worker_id: str) -> Any:
    """The changes of a worker's state, newest first."""
    return registry.find(view.tenant, pipeline_id, worker_id).events.all()


@operation("workers", "beatForWorker", WorkerView)
@declares(Act.WORKER_HEARTBEAT, Scope.OPERATE)
@refuses(errors.WorkerUnknown, errors.WorkerBeatsItself)
def heartbeat(view: TenantView, pipeline_id: str, worker_id: str) -> Any:
    """Record that a worker which is called over HTTP is alive. This does not end a drain."""
    return heartbeat_for(view.tenant, pipeline_id, worker_id, actor=view.actor)


@operation("workers", "drainWorker", WorkerView, body=DrainRequest)
@declares(Act.WORKER_DRAIN, Scope.OPERATE)
@refuses(errors.WorkerUnknown)
def drain(view: TenantView, pipeline_id: str, worker_id: str, reason: str) -> Any:
    """Let the worker finish its work and give it no more until it is undrained.

    The drain is complete once `taking` is false and `holding` is 0. Repeating the request changes nothing.
    """
    return registry.drain(view.tenant, pipeline_id, worker_id, actor=view.actor, reason=reason)


@operation("workers", "undrainWorker", WorkerView, body=DrainRequest)
@declares(Act.WORKER_UNDRAIN, Scope.OPERATE)
@refuses(errors.WorkerUnknown)
def undrain(view: TenantView, pipeline_id: str, worker_id: str, reason: str) -> Any:
    """End an operator's drain. Repeating the request changes nothing."""
    return registry.undrain(view.tenant, pipeline_id, worker_id, actor=view.actor, reason=reason)


@operation("workers", "strandedWork", StrandedList, method="GET")
def stranded_work(view: TenantView) -> Any:
    """The due executions whose release no worker may run, grouped by release."""
    return {"items": [asdict(release) for release in stranded([view.tenant.pk])]}


class PlannedReleaseView(serializers.Serializer[PlannedRelease]):
    pipelineId = serializers.CharField(source="pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    artifactDigest = serializers.CharField(
        source="artifact_digest", help_text="The digest of the artifact that its workers host. Empty if it has none."
    )
    image = serializers.CharField(
        help_text="The reference of the image from which to start its workers. Empty if it is no image."
    )
    reasons = serializers.ListField(
        child=serializers.ChoiceField(choices=[reason.value for reason in Reason]),
        help_text="Why it needs workers. `pinned`: it was replaced just now, and callers that name it still get it.",
    )
    workers = serializers.IntegerField(help_text="How many workers it should have.")
    liveWorkers = serializers.IntegerField(source="load.live", help_text="How many workers may run it now.")
    dueExecutions = serializers.IntegerField(source="load.due", help_text="10,000 at most.")
    queueAgeSeconds = serializers.FloatField(source="load.age", help_text="The age of its oldest due execution.")
    canStop = serializers.BooleanField(source="can_stop", help_text="Whether its workers can be stopped.")
    mayGo = serializers.BooleanField(
        source="can_stop", help_text="Deprecated: the former name of `canStop`. The next version removes it."
    )


class WorkerPlan(serializers.Serializer[Any]):
    items = PlannedReleaseView(many=True)


@operation("workers", "workerPlan", WorkerPlan, method="GET")
def tenant_worker_plan(view: TenantView) -> Any:
    """The releases of the tenant that need workers or have some: why, how many, and which can stop."""
    return {"items": worker_plan(view.tenant)}


class FleetEnvironmentView(serializers.Serializer[Environment]):
    python = serializers.CharField()
    platform = serializers.CharField()
    durablePipelines = serializers.CharField(source="durable_pipelines", help_text=OWN_VERSION_HELP)
    workers = serializers.IntegerField(help_text="How many workers of the release run in it.")
    differences = serializers.IntegerField(help_text="How many differences from the required one a worker reported.")


class FleetReleaseView(serializers.Serializer[FleetRelease]):
    pin = PinView(source="planned")
    condition = serializers.ChoiceField(
        choices=[condition.value for condition in Condition],
        help_text="`stalledByVersion`: work is due and no worker may run it, but workers of other releases of the "
        "pipeline run. `stalled`: the same without such workers. `unknown`: it is not registered, so its workers get "
        "no work. `unhosted`: no worker may run it, and no work waits. `unneeded`: its workers may be stopped.",
    )
    strandedExecutions = serializers.IntegerField(source="stranded.count", default=0)
    strandedSince = serializers.DateTimeField(source="stranded.since", default=None, allow_null=True)
    eligibleWorkers = serializers.IntegerField(source="planned.load.live")
    capacity = serializers.IntegerField(
        source="planned.load.capacity", help_text="How many executions the eligible workers run at a time."
    )
    running = serializers.IntegerField(source="planned.load.running")
    workersByState = serializers.DictField(child=serializers.IntegerField(), source="states")
    workersByHost = serializers.DictField(
        child=serializers.IntegerField(),
        source="hosts",
        help_text="A host is that of the endpoint, or the id of a worker without the number of its process.",
    )
    environments = FleetEnvironmentView(many=True)
    hostedVersions = serializers.ListField(
        child=serializers.CharField(),
        source="others",
        help_text="The other releases of the pipeline with eligible workers.",
    )
    ineligibleReasons = serializers.ListField(child=serializers.ChoiceField(choices=REASONS), source="reasons")
    command = serializers.CharField(help_text="Starts a worker of the release. Empty if it needs none.")


class FleetView(serializers.Serializer[Any]):
    items = FleetReleaseView(many=True)


@operation("workers", "fleet", FleetView, method="GET")
def tenant_fleet(view: TenantView) -> Any:
    """The releases that need workers or have some, with their workers, hosts and environments. Stalled ones first."""
    return {"items": fleet(view.tenant)}


urlpatterns = [
    path("fleet", tenant_fleet, name="fleet"),
    path("workers", either(workers, register_worker), name="workers"),
    path("workers/<str:pipeline_id>/<path:worker_id>/events", worker_events, name="worker-events"),
    path("workers/<str:pipeline_id>/<path:worker_id>/heartbeat", heartbeat, name="worker-heartbeat"),
    path("workers/<str:pipeline_id>/<path:worker_id>/drain", drain, name="worker-drain"),
    path("workers/<str:pipeline_id>/<path:worker_id>/undrain", undrain, name="worker-undrain"),
    path("stranded", stranded_work, name="stranded"),
    path("worker-plan", tenant_worker_plan, name="worker-plan"),
]
