"""REST: revocations of releases, what still needs a release, and retirements."""

from typing import Any, Final
from urllib.parse import urlencode

from django.urls import path, reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from executions.inspection.callers import DAYS, Caller
from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text
from foundation.errors import InvalidRequest
from governance.reports.consequences import consequences
from governance.retirement import retirement
from governance.retirement.retirement import (
    FAILURES,
    MOST_COUNTED,
    REQUESTS,
    STATUSES,
    Blocker,
    Kind,
    Order,
    blockers,
    retire,
)
from releases import queries
from releases.errors import PipelineUnknown, ReasonRequired, ReleaseNotRegistered, ReleaseUnknown, RetirementBlocked
from releases.models import IDENTITY_LENGTH, Release
from releases.registration.api import RetirementView, RevocationView
from releases.states import Status
from tenancy.api.operations import TenantView, either, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

COUNT_HELP: Final = f"Up to {MOST_COUNTED:,} are counted. {MOST_COUNTED + 1:,} means that there are more."


class RevocationRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(source="release_version", max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000)
    openExecutions = serializers.ChoiceField(
        source="open_executions",
        choices=Order.choices,
        required=False,
        default=Order.LEAVE.value,
        help_text="`pause` pauses the release, so that its open executions wait until it is resumed. `fail` ends them "
        "with the code RELEASE_REVOKED.",
    )


@operation("releases", "revoke", {201: RevocationView}, body=RevocationRequest)
@declares(Act.RELEASE_REVOKE, Scope.ACTIVATE)
@refuses(PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered, ReasonRequired)
def revoke(view: TenantView, pipeline_id: str, release_version: str, open_executions: str, reason: str) -> Any:
    """Revoke a registered release permanently. The order `openExecutions` decides about its open executions."""
    release = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    order = Order(open_executions)
    return retirement.revoke(release, actor=view.actor, reason=reason, open_executions=order)


class BlockersRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH)


class BlockerView(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    count = serializers.IntegerField(help_text=COUNT_HELP)
    ignorable = serializers.BooleanField(help_text="Whether `ignoreFailures` gives these rows up.")
    href = serializers.CharField(help_text="The list of exactly these rows.")


class DependentCallerView(serializers.Serializer[Caller]):
    name = serializers.CharField(help_text="The user or the token that submitted the executions.")
    executions = serializers.IntegerField()
    newestAt = serializers.DateTimeField(source="newest_at")


class ConsequencesView(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField()
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    active = serializers.BooleanField(help_text="Whether submissions fail until another release is activated.")
    dependents = BlockerView(many=True, help_text="Executions, failures, requests and campaigns that depend on it.")
    openExecutions = serializers.IntegerField(help_text="The sum of the open executions among them.")
    openQuestions = serializers.IntegerField(help_text=f"The open questions of its executions. {COUNT_HELP}")
    callers = DependentCallerView(
        many=True, help_text=f"Who submitted the executions of the last {DAYS} days that are pinned to it."
    )
    schedules = serializers.ListField(
        child=serializers.CharField(), help_text="The names of the schedules that would submit to it."
    )


@operation("releases", "revocationConsequences", ConsequencesView, method="GET")
@extend_schema(parameters=[BlockersRequest])
@refuses(InvalidRequest, PipelineUnknown, ReleaseUnknown)
def revocation_consequences(view: TenantView, pipeline_id: str) -> Any:
    """What a revocation of a release would hit now. Changes nothing."""
    release = _named(view, pipeline_id)
    affected = consequences(release)
    return {
        "releaseVersion": release.release_version,
        "status": release.status,
        "active": affected.is_active,
        "dependents": [_blocker(view.tenant.slug, release, need) for need in affected.needs],
        "openExecutions": affected.open,
        "openQuestions": affected.questions,
        "callers": affected.callers,
        "schedules": affected.schedules,
    }


class RetirementRequest(StrictSerializer):
    releaseVersion = SegmentIdentifier(source="release_version", max_length=IDENTITY_LENGTH)
    reason = Text(max_length=1000)
    ignoreFailures = Flag(
        source="give_up_failures",
        required=False,
        default=False,
        help_text="Give up failures that could still be re-driven.",
    )


class RetirementAnswerView(serializers.Serializer[Any]):
    releaseVersion = serializers.CharField()
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    safe = serializers.BooleanField(help_text="Whether the release is registered and nothing needs it.")
    blockers = BlockerView(many=True)


@operation("releases", "retirementBlockers", RetirementAnswerView, method="GET")
@extend_schema(parameters=[BlockersRequest])
@refuses(InvalidRequest, PipelineUnknown, ReleaseUnknown)
def retirement_blockers(view: TenantView, pipeline_id: str) -> Any:
    """Whether a release is safe to retire, and everything that still needs it."""
    release = _named(view, pipeline_id)
    needs = blockers(release)
    return {
        "releaseVersion": release.release_version,
        "status": release.status,
        "safe": release.status == Status.REGISTERED and not needs,
        "blockers": [_blocker(view.tenant.slug, release, need) for need in needs],
    }


@operation("releases", "retire", {201: RetirementView}, body=RetirementRequest)
@declares(Act.RELEASE_RETIRE, Scope.ACTIVATE)
@refuses(PipelineUnknown, ReleaseUnknown, ReleaseNotRegistered, ReasonRequired, RetirementBlocked)
def retire_release(view: TenantView, pipeline_id: str, release_version: str, **body: Any) -> Any:
    """Retire a release that nothing needs, permanently. Its artifacts and its workers may go afterwards."""
    release = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    return retire(release, actor=view.actor, **body)


def _named(view: TenantView, pipeline_id: str) -> Release:
    """Return the release that the query names."""
    pipeline = queries.pipeline(view.tenant, pipeline_id)
    query = BlockersRequest.validated(view.request.query_params.dict())
    return queries.release(pipeline, query["releaseVersion"])


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
    path("pipelines/<str:pipeline_id>/revocations", either(revocation_consequences, revoke), name="revocations"),
    path("pipelines/<str:pipeline_id>/retirements", either(retirement_blockers, retire_release), name="retirements"),
]
