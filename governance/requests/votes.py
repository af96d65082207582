"""Votes of people on a request to activate a release."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from foundation.errors import CoordinatorError
from governance.requests import states
from governance.requests.carrying_out import carry_out
from releases.errors import AlreadyVoted, OwnRequest, RequestRestarted
from releases.models import ActivationRequest, Pipeline, Vote
from releases.states import RequestStatus
from tenancy import access, audit
from tenancy.audit.acts import Act
from tenancy.roles import Scope

Decision = Vote.Decision


def _audited(request: ActivationRequest, *, actor: str, **_: Any) -> dict[str, Any]:
    return states.named(request, actor)


@audit.denials(Act.ACTIVATION_REQUEST_VOTE, OwnRequest, of=_audited)
def vote(
    request: ActivationRequest, *, voter: User, actor: str, decision: Decision, round_number: int, comment: str = ""
) -> ActivationRequest:
    """Record the vote of `voter` in the round that they saw. Return the request.

    `actor` is the voter or a token of theirs: the person counts. One refusal refuses the request. The last approval
    that it needs approves it, and then it is carried out if its time has come. Approvals of people who have lost the
    right to vote do not count. A repeated vote changes nothing.

    If something has moved since the round began, the request begins a new one, and the vote does not count. Raises
    `OwnRequest`, `RequestNotOpen`, `RequestRestarted` with what has moved, `AlreadyVoted`, and `ScopeMissing` or
    `NotFound` if the voter has lost the right.
    """
    with transaction.atomic():
        pipeline, found = states.lock(request)
        if found.requester_id == voter.pk:
            raise OwnRequest("Another person must vote on this request.")
        # As they are now: the caller may have read them before they were deactivated.
        access.require(User.objects.get(pk=voter.pk), found.release.pipeline.tenant, Scope.ACTIVATE)
        earlier = found.votes.filter(round=round_number, voter=voter).first()
        if earlier is not None and earlier.decision != decision:
            raise AlreadyVoted(f"The vote of round {round_number} is: {earlier.decision}.", decision=earlier.decision)
        # A refusal may follow a change that must be committed, so it is raised after the transaction.
        refusal = None
        if earlier is None:
            refusal = _refusal(pipeline, found, actor, round_number)
            if refusal is None:
                _count(found, Vote(voter=voter, actor=actor, decision=decision, comment=comment.strip()))
    if refusal is not None:
        raise refusal
    found.refresh_from_db()
    return carry_out(found)


def _refusal(pipeline: Pipeline, found: ActivationRequest, actor: str, round_number: int) -> CoordinatorError | None:
    """Return why a vote does not count, or None. Expires or restarts the request if its time or its base has gone."""
    if found.status != RequestStatus.OPEN:
        return states.not_open(found)
    if ActivationRequest.objects.filter(pk=found.pk, expires_at__lte=Now()).exists():
        states.move(found, RequestStatus.EXPIRED)
        states.record(Act.ACTIVATION_REQUEST_EXPIRE, found, states.COORDINATOR)
        return states.not_open(found, RequestStatus.EXPIRED)
    changes = [each.to_json() for each in states.moved(found, pipeline)]
    if changes:
        _restart(pipeline, found, actor, changes)
    elif round_number == found.round:
        return None
    said = states.described([states.Moved(**each) for each in found.moved])
    return RequestRestarted(f"The request is in round {found.round}. {said}", round=found.round, moved=found.moved)


def _restart(pipeline: Pipeline, found: ActivationRequest, actor: str, changes: list[dict[str, Any]]) -> None:
    """Begin a new round, made on what the pipeline is now. Votes of earlier rounds are kept and do not count."""
    found.base, found.policy = pipeline.activation, states.policy_of(pipeline)
    found.round, found.moved = found.round + 1, changes
    found.save(update_fields=("base", "policy", "round", "moved"))
    states.record(Act.ACTIVATION_REQUEST_RESTART, found, actor, round=found.round, moved=changes)


def _count(found: ActivationRequest, ballot: Vote) -> None:
    """Write the vote, and decide the request if the vote decides it."""
    ballot.request, ballot.round = found, found.round
    ballot.save(force_insert=True)
    approvals = len(states.approvals(found))
    if ballot.decision == Decision.REFUSE:
        states.move(found, RequestStatus.REFUSED)
    elif approvals >= found.approvals_needed:
        states.move(found, RequestStatus.APPROVED)
    states.record(
        Act.ACTIVATION_REQUEST_VOTE,
        found,
        ballot.actor,
        ballot.comment,
        decision=ballot.decision,
        round=found.round,
        approvals=approvals,
    )
