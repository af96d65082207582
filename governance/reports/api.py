"""REST: what changes from one release to another, what an activation would do, and where reality differs."""

from typing import Any

from django.urls import path, reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from executions.inspection import callers
from executions.statistics import KEPT_DAYS, Totals
from executions.workers.eligibility import Hosts
from foundation.api.pagination import require_known
from foundation.errors import CoordinatorError, InvalidRequest
from governance.activation.gates import Gate, Verdict
from governance.reports import comparison
from governance.reports.drift import Drift, Fact, Subject, drift
from governance.reports.drift import Kind as DriftKind
from governance.reports.preflight import Caution, Concern, Preflight, preflight
from governance.reports.rollback_targets import MOST_TARGETS, Rollback, RollbackTarget, rollback
from governance.retirement.retirement import Blocker
from governance.retirement.retirement import Kind as BlockerKind
from releases import queries
from releases.errors import ActiveReleaseRevoked, NoActiveRelease, PipelineUnknown, ReleaseUnknown
from releases.models import Kind as ActivationKind
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.roles import Scope
from wire.comparison.differences import MAX_DIFFERENCES, Area, Difference, Impact, Kind

NAMES = ("from", "to")
VERSION = {"type": "string", "minLength": 1}


class DifferenceView(serializers.Serializer[Difference]):
    area = serializers.ChoiceField(choices=[area.value for area in Area])
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    impact = serializers.ChoiceField(choices=[impact.value for impact in Impact])
    path = serializers.CharField(help_text='Where it is, such as `steps["Validate"].input.lines[].price`.')
    before = serializers.CharField(help_text="Empty if there is no value.")
    after = serializers.CharField(help_text="Empty if there is no value.")
    reason = serializers.CharField(help_text="One sentence that explains the impact.")


class ComparisonView(serializers.Serializer[Any]):
    fromReleaseVersion = serializers.CharField(source="before.release_version")
    fromContractVersion = serializers.CharField(source="before.contract_version")
    toReleaseVersion = serializers.CharField(source="after.release_version")
    toContractVersion = serializers.CharField(source="after.contract_version")
    breaking = serializers.BooleanField(help_text="Whether a difference is breaking, for callers or for parked work.")
    differences = DifferenceView(
        many=True, help_text=f"Most harmful first. At most {MAX_DIFFERENCES}, and one that says that there are more."
    )


@operation("releases", "comparison", ComparisonView, method="GET")
@extend_schema(
    parameters=[
        OpenApiParameter("from", VERSION, description="By default the version of the active release."),
        OpenApiParameter("to", VERSION, description="By default that of the registered release uploaded last."),
    ]
)
@refuses(InvalidRequest, PipelineUnknown, ReleaseUnknown, NoActiveRelease, ActiveReleaseRevoked)
def compare(view: TenantView, pipeline_id: str) -> Any:
    """What changes for callers and for parked work from one release to another one."""
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    require_known(view.request, NAMES)
    versions = view.request.query_params
    after, before = (versions.get(name) for name in ("to", "from"))
    newer = comparison.newest_release(pipeline) if after is None else comparison.named_release(pipeline, after)
    older = queries.active_release(pipeline) if before is None else comparison.named_release(pipeline, before)
    differences = comparison.differences(older, newer)
    breaking = any(difference.is_breaking for difference in differences)
    return {"before": older, "after": newer, "breaking": breaking, "differences": differences}


class GateView(serializers.Serializer[Gate]):
    name = serializers.CharField(help_text="Such as `signatures` or `worker`.")
    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in Verdict])
    detail = serializers.CharField()


class RefusalView(serializers.Serializer[CoordinatorError]):
    code = serializers.CharField(help_text="The code of the problem that an activation would return.")
    detail = serializers.CharField()


class CautionView(serializers.Serializer[Caution]):
    concern = serializers.ChoiceField(choices=[concern.value for concern in Concern])
    detail = serializers.CharField()


class HostsView(serializers.Serializer[Hosts]):
    eligible = serializers.IntegerField(source="count", help_text="How many workers may run new executions of it.")
    capacity = serializers.IntegerField(help_text="How many executions they run at a time.")


class LoadView(serializers.Serializer[Preflight]):
    running = serializers.IntegerField(
        source="load.running", help_text="The executions of the pipeline that run now, on all its releases."
    )
    due = serializers.IntegerField(source="load.due", help_text="Those that are due and wait for a worker.")
    pinned = serializers.IntegerField(
        source="load.pinned", help_text="The open executions that are pinned to the release already."
    )
    submissionsPerMinute = serializers.FloatField(source="callers.rounded_rate", help_text="The rate of the last hour.")


class RemainingCountView(serializers.Serializer[Blocker]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in BlockerKind])
    count = serializers.IntegerField()


class RemainingView(serializers.Serializer[Preflight]):
    blockers = RemainingCountView(
        many=True, source="remaining", help_text="As in the answer whether that release can be retired."
    )
    openQuestions = serializers.IntegerField(source="questions", help_text="The open questions of its executions.")


class ExampleView(serializers.Serializer[callers.Example]):
    executionId = serializers.UUIDField(source="execution_id")
    href = serializers.SerializerMethodField(help_text="The execution.")
    path = serializers.CharField(
        help_text="The first place that does not have the type, such as `input.lines[0].price`. A name that no type of "
        "either release declares is `{}`."
    )
    rule = serializers.CharField(help_text="The rule that the value breaks.")

    def get_href(self, example: callers.Example) -> str:
        return reverse("api:execution", args=(self.context["tenant"], example.execution_id))


class CallerView(serializers.Serializer[callers.Caller]):
    name = serializers.CharField(help_text="The user or the token that submitted the executions.")
    executions = serializers.IntegerField(help_text="How many executions it submitted.")
    newestAt = serializers.DateTimeField(source="newest_at")
    checked = serializers.IntegerField(
        help_text=f"How many of its inputs were checked: the newest, at most {callers.INPUTS_PER_CALLER}."
    )
    failing = serializers.IntegerField(help_text="How many of these would be refused.")
    examples = ExampleView(many=True, help_text=f"At most {callers.EXAMPLES_PER_CALLER} different ones.")


class CallersView(serializers.Serializer[callers.Callers]):
    since = serializers.DateTimeField(
        help_text=f"All submissions since then were read: those of the last {callers.DAYS} days, or as many of them as "
        f"are among the newest {callers.SCANNED:,} executions of the tenant."
    )
    executions = serializers.IntegerField(source="submissions")
    count = serializers.IntegerField(help_text="How many callers submitted them.")
    checked = serializers.IntegerField(
        help_text=f"How many inputs were checked, at most {callers.MOST_INPUTS}. Very large ones are left out."
    )
    failing = serializers.IntegerField(help_text="How many of these would be refused.")
    callers = CallerView(many=True, help_text="Those with checked inputs, most failing inputs first.")


class PreflightView(serializers.Serializer[Preflight]):
    releaseVersion = serializers.CharField(source="release.release_version")
    activeReleaseVersion = serializers.CharField(source="active.release_version", allow_null=True)
    kind = serializers.ChoiceField(choices=ActivationKind.choices)
    allowed = serializers.BooleanField(source="is_allowed", help_text="Whether nothing refuses the activation.")
    reasonRequired = serializers.BooleanField(source="reason_required")
    refusals = RefusalView(many=True)
    warnings = CautionView(many=True)
    gates = GateView(many=True, help_text="What the policy of the pipeline asks for.")
    workers = HostsView(source="hosts")
    load = LoadView(source="*")
    remaining = RemainingView(source="*", help_text="What still needs the active release afterwards.")
    callers = CallersView()
    differences = DifferenceView(many=True, help_text="From the active release to this one, most harmful first.")


@operation("activations", "preflight", PreflightView, method="GET")
@refuses(PipelineUnknown, ReleaseUnknown)
def release_preflight(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """What would happen if the release became active now. Changes nothing."""
    report = preflight(queries.release(queries.pipeline(view.tenant, pipeline_id), release_version))
    return Response(PreflightView(report, context={"tenant": view.tenant.slug}).data)


class TotalsView(serializers.Serializer[Totals]):
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    failurePercent = serializers.FloatField(
        source="failure_rate", allow_null=True, help_text="Null if none has succeeded or failed."
    )


class RollbackTargetView(serializers.Serializer[RollbackTarget]):
    releaseVersion = serializers.CharField(source="release.release_version")
    contractVersion = serializers.CharField(source="release.contract_version")
    activeSince = serializers.DateTimeField(source="period.since", help_text="When it became active most recently.")
    activeUntil = serializers.DateTimeField(source="period.until")
    activeSeconds = serializers.FloatField(source="period.total_seconds", help_text="All together.")
    finished = TotalsView(source="totals", help_text=f"Its executions that finished in the last {KEPT_DAYS} days.")
    workers = HostsView(source="hosts")
    allowed = serializers.BooleanField(source="is_allowed")
    refusals = RefusalView(many=True, help_text="The problems that a rollback to it would return now.")
    warnings = serializers.ListField(child=serializers.CharField())
    gates = GateView(many=True, help_text="What the policy of the pipeline asks for.")
    breaking = serializers.BooleanField(source="is_breaking", help_text="Whether clients that work today would fail.")
    differences = DifferenceView(many=True, help_text="From the active release to this one, most harmful first.")


class RollbackTargetsView(serializers.Serializer[Rollback]):
    activeReleaseVersion = serializers.CharField(source="active.release_version", allow_null=True, default=None)
    activeSince = serializers.DateTimeField(source="period.since", allow_null=True, default=None)
    finished = TotalsView(source="totals", allow_null=True, help_text="The executions of the active release.")
    targets = RollbackTargetView(many=True, help_text=f"Newest first, at most {MOST_TARGETS}.")
    proposed = serializers.CharField(
        source="proposed.release.release_version",
        allow_null=True,
        default=None,
        help_text="The newest one that nothing refuses and nothing warns about.",
    )


@operation("activations", "rollbackTargets", RollbackTargetsView, method="GET")
@refuses(PipelineUnknown)
def rollback_targets(view: TenantView, pipeline_id: str) -> Any:
    """The releases that were active before: how each did, and what a rollback to it would meet. Changes nothing."""
    recent_only = Scope.ACTIVATE not in view.token.usable_scopes
    return rollback(queries.pipeline(view.tenant, pipeline_id), recent_only=recent_only)


class FactView(serializers.Serializer[Fact]):
    name = serializers.CharField()
    value = serializers.CharField(help_text="Empty if it is not known.")


class DriftView(serializers.Serializer[Drift]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in DriftKind])
    pipelineId = serializers.CharField(source="pipeline_id")
    releaseVersion = serializers.CharField(source="release_version")
    subject = serializers.ChoiceField(choices=[subject.value for subject in Subject])
    name = serializers.CharField(
        help_text="The id of the worker, of the artifact or of the pipeline, or the version of the release."
    )
    evidence = FactView(many=True)
    since = serializers.DateTimeField(allow_null=True, help_text="Null if nothing says when it began.")
    remedy = serializers.CharField(help_text="What to do.")


class DriftList(serializers.Serializer[Any]):
    items = DriftView(many=True)


@operation("activations", "drift", DriftList, method="GET")
def tenant_drift(view: TenantView) -> Any:
    """Where workers, environments, stored bytes and submissions differ from the releases of the tenant."""
    return {"items": drift(view.tenant)}


@operation("activations", "pipelineDrift", DriftList, method="GET")
@refuses(PipelineUnknown)
def pipeline_drift(view: TenantView, pipeline_id: str) -> Any:
    """Where workers, environments, stored bytes and submissions differ from the releases of a pipeline."""
    return {"items": drift(view.tenant, queries.pipeline(view.tenant, pipeline_id))}


urlpatterns = [
    path("pipelines/<str:pipeline_id>/releases/<path:release_version>/preflight", release_preflight, name="preflight"),
    path("pipelines/<str:pipeline_id>/rollback-targets", rollback_targets, name="rollback-targets"),
    path("drift", tenant_drift, name="drift"),
    path("pipelines/<str:pipeline_id>/drift", pipeline_drift, name="pipeline-drift"),
    path("pipelines/<str:pipeline_id>/comparison", compare, name="comparison"),
]
