"""REST: requests to activate a release, votes on them, and their withdrawal."""

import uuid
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.response import Response

from foundation.api.fields import Moment, StrictSerializer, Text, WholeNumber
from governance.activation.api import ExpectingRequest
from governance.gradual.api import PlanRequest, PlanView
from governance.gradual.plan import Plan
from governance.reports.api import PreflightView
from governance.requests import requests, review
from releases import errors, queries
from releases.api import VoteView
from releases.models import ActivationRequest, Vote
from releases.states import RequestStatus
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

LONGEST_ROUND = 2**31 - 1


class MovedView(serializers.Serializer[Any]):
    member = serializers.CharField(help_text="A member of the policy, or `activeRelease`.")
    before = serializers.JSONField()
    after = serializers.JSONField()


class ActivationRequestView(serializers.Serializer[ActivationRequest]):
    requestId = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(choices=[(choice.value, choice.value) for choice in RequestStatus])
    releaseVersion = serializers.CharField(source="release.release_version")
    activeReleaseVersion = serializers.CharField(
        source="base.release.release_version",
        default=None,
        allow_null=True,
        help_text="The active release on which the current round is made.",
    )
    actor = serializers.CharField()
    reason = serializers.CharField()
    activateAt = serializers.DateTimeField(
        source="activate_at", allow_null=True, help_text="Null if the last approval activates the release at once."
    )
    gradual = PlanView(
        source="plan",
        allow_null=True,
        help_text="The plan of the gradual activation that it starts. Null if it starts none.",
    )
    round = serializers.IntegerField()
    moved = MovedView(many=True, help_text="Why the current round began. Empty for the first one.")
    approvalsNeeded = serializers.IntegerField(
        source="approvals_needed", help_text="How many people must approve it. 0 if the policy needed no approval."
    )
    policy = serializers.DictField(help_text="The policy of the pipeline on which the current round is made.")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(
        source="voting_ends_at", allow_null=True, help_text="Until when votes are accepted. Null if it needs none."
    )
    statusChangedAt = serializers.DateTimeField(source="status_changed_at")
    code = serializers.CharField(help_text="Why it FAILED. Otherwise empty.")
    detail = serializers.CharField(help_text="Why it FAILED or was WITHDRAWN. Otherwise empty.")
    endedBy = serializers.CharField(source="ended_by", help_text="Who withdrew it. Otherwise empty.")
    activationSequence = serializers.IntegerField(
        source="activation.sequence", default=None, allow_null=True, help_text="The activation that carried it out."
    )
    gradualActivationId = serializers.UUIDField(source="activation.gradual_id", default=None, allow_null=True)
    votes = VoteView(many=True, help_text="The votes of all rounds, oldest first.")


class NewActivationRequest(ExpectingRequest):
    reason = Text(max_length=1000)
    gradual = PlanRequest(
        required=False,
        allow_null=True,
        default=None,
        help_text="Start a gradual activation with this plan. By default, the release becomes active.",
    )
    activateAt = Moment(
        source="activate_at",
        required=False,
        allow_null=True,
        default=None,
        help_text="When to activate the release: in the future, and at most 365 days away. By default, at once when it "
        "is approved.",
    )


class VoteRequest(StrictSerializer):
    decision = serializers.ChoiceField(choices=Vote.Decision.choices)
    round = WholeNumber(
        source="round_number", min_value=1, max_value=LONGEST_ROUND, help_text="The round that the voter has seen."
    )
    comment = Text(max_length=1000, required=False, allow_blank=True, default="", help_text="For people.")


class WithdrawalRequest(StrictSerializer):
    reason = Text(max_length=1000)


class RequestFilter(filters.FilterSet):
    status = filters.ChoiceFilter(choices=[(choice.value, choice.value) for choice in RequestStatus])
    releaseVersion = filters.CharFilter(field_name="release__release_version")


@listing("activations", ActivationRequest, ActivationRequestView, RequestFilter, ordering=("-created_at", "-id"))
@refuses(errors.PipelineUnknown)
def activation_requests(view: TenantView, pipeline_id: str) -> Any:
    """The requests to activate releases of the pipeline, newest first."""
    return queries.requests(queries.pipeline(view.tenant, pipeline_id))


@operation("activations", "requestActivation", {201: ActivationRequestView}, body=NewActivationRequest)
@declares(Act.ACTIVATION_REQUEST_CREATE, Scope.ACTIVATE)
@refuses(
    errors.PipelineUnknown,
    errors.ReleaseUnknown,
    errors.ReleaseNotRegistered,
    errors.ReasonRequired,
    errors.ActiveReleaseChanged,
    errors.OperationKeyReused,
    errors.ActivationTimeInvalid,
    errors.GradualActivationInvalid,
    errors.GradualActivationRunning,
    errors.NoActiveRelease,
    errors.ActiveReleaseRevoked,
    errors.CandidateActive,
)
def request_activation(
    view: TenantView, pipeline_id: str, release_version: str, gradual: dict[str, Any] | None, **body: Any
) -> Any:
    """Request an activation, which other people approve if the policy requires that, or which waits for a time.

    If neither applies, the release is activated at once. The response shows the request as it is then. With
    `gradual`, a gradual activation of the release starts instead.
    """
    release = queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)
    made = requests.ask(release, requester=view.token.user, actor=view.actor, plan=_plan(gradual), **body)
    return _reread(made)


@operation("activations", "activationRequest", ActivationRequestView, method="GET")
@refuses(errors.PipelineUnknown, errors.RequestUnknown)
def one_activation_request(view: TenantView, pipeline_id: str, request_id: uuid.UUID) -> Any:
    """One request with all votes."""
    return queries.request(queries.pipeline(view.tenant, pipeline_id), request_id)


class ReviewView(serializers.Serializer[review.Review]):
    preflight = PreflightView(help_text="What carrying out the request would do now, if it had its approvals.")
    moved = MovedView(
        many=True, help_text="What changed since the round began. If anything did, a vote begins another."
    )
    approvals = VoteView(many=True, help_text="The votes that count now, oldest first.")
    approvalsMissing = serializers.IntegerField(source="missing")
    decides = serializers.BooleanField(help_text="Whether the next approval is the last one that the request needs.")


@operation("activations", "reviewActivation", ReviewView, method="GET")
@refuses(errors.PipelineUnknown, errors.RequestUnknown, errors.RequestNotOpen)
def review_activation(view: TenantView, pipeline_id: str, request_id: uuid.UUID) -> Any:
    """What a voter decides on: the pre-flight of an undecided request, and what changed since it was made."""
    request = review.review(queries.request(queries.pipeline(view.tenant, pipeline_id), request_id))
    return Response(ReviewView(request, context={"tenant": view.tenant.slug}).data)


@operation("activations", "voteOnActivation", ActivationRequestView, body=VoteRequest)
@declares(Act.ACTIVATION_REQUEST_VOTE, Scope.VOTE)
@refuses(
    errors.PipelineUnknown,
    errors.RequestUnknown,
    errors.OwnRequest,
    errors.RequestNotOpen,
    errors.RequestRestarted,
    errors.AlreadyVoted,
)
def vote(view: TenantView, pipeline_id: str, request_id: uuid.UUID, decision: str, **body: Any) -> Any:
    """Approve or refuse a request of another person. The owner of the token is the voter.

    The last approval that a request needs carries it out, unless it waits for its time.
    """
    request = queries.request(queries.pipeline(view.tenant, pipeline_id), request_id)
    decided = Vote.Decision(decision)
    return _reread(requests.vote(request, voter=view.token.user, actor=view.actor, decision=decided, **body))


@operation("activations", "withdrawActivation", ActivationRequestView, body=WithdrawalRequest)
@declares(Act.ACTIVATION_REQUEST_WITHDRAW, Scope.ACTIVATE)
@refuses(errors.PipelineUnknown, errors.RequestUnknown, errors.RequestNotOpen, errors.ReasonRequired)
def withdraw(view: TenantView, pipeline_id: str, request_id: uuid.UUID, reason: str) -> Any:
    """Withdraw a request that is not decided, or not carried out yet."""
    request = queries.request(queries.pipeline(view.tenant, pipeline_id), request_id)
    return _reread(requests.withdraw(request, actor=view.actor, reason=reason))


def _plan(sent: dict[str, Any] | None) -> Plan | None:
    try:
        return None if sent is None else Plan.from_json(**sent)
    except errors.GradualActivationInvalid as refusal:
        wrong = [{**error, "field": f"gradual.{error['field']}"} for error in refusal.errors]
        raise errors.GradualActivationInvalid(refusal.detail, errors=wrong) from None


def _reread(request: ActivationRequest) -> ActivationRequest:
    return queries.requests(request.pipeline).get(pk=request.pk)


_ROOT = "pipelines/<str:pipeline_id>/activation-requests"
urlpatterns = [
    path(_ROOT, either(activation_requests, request_activation), name="activation-requests"),
    path(f"{_ROOT}/<uuid:request_id>", one_activation_request, name="activation-request"),
    path(f"{_ROOT}/<uuid:request_id>/review", review_activation, name="activation-request-review"),
    path(f"{_ROOT}/<uuid:request_id>/votes", vote, name="activation-request-votes"),
    path(f"{_ROOT}/<uuid:request_id>/withdrawal", withdraw, name="activation-request-withdrawal"),
]
