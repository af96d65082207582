"""REST: what would happen if a release became active now."""

from typing import Any

from django.urls import path, reverse
from rest_framework import serializers
from rest_framework.response import Response

from executions.inspection import callers
from executions.workers.eligibility import Hosts
from foundation.errors import CoordinatorError
from governance.activation.gates import Gate, Verdict
from governance.comparison.api import DifferenceView
from governance.preflight.preflight import Caution, Concern, Preflight, preflight
from governance.retirement.retirement import Blocker
from governance.retirement.retirement import Kind as BlockerKind
from releases import queries
from releases.errors import PipelineUnknown, ReleaseUnknown
from releases.models import Kind
from tenancy.api.operations import TenantView, operation, refuses


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
    openQuestions = serializers.IntegerField(source="questions", help_text="The open interactions of its executions.")


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
    kind = serializers.ChoiceField(choices=Kind.choices)
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
    found = preflight(queries.release(queries.pipeline(view.tenant, pipeline_id), release_version))
    return Response(PreflightView(found, context={"tenant": view.tenant.slug}).data)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/releases/<path:release_version>/preflight", release_preflight, name="preflight")
]
