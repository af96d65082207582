"""Makes, withdraws and expires requests to activate a release, at once or gradually, and counts the votes on them.

A request records the newest activation and the policy of its pipeline. It is OPEN until enough people have approved it,
and APPROVED until its time. A policy that needs no approvals makes it APPROVED at once.
"""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from foundation.errors import CoordinatorError
from governance.gradual.changes import require_startable
from governance.gradual.plan import Plan
from governance.requests import states
from governance.requests.carrying_out import carry_out
from releases import errors, queries
from releases.models import ActivationRequest, Pipeline, Release, Vote
from releases.pointer import pointer
from releases.pointer.pointer import require_expected, require_registered
from releases.states import UNDECIDED, RequestStatus
from tenancy import access, audit
from tenancy.audit.acts import Act
from tenancy.roles import Scope

Decision = Vote.Decision
FURTHEST = timedelta(days=365)
"""How far in the future the time of an activation may be."""


@audit.denials(Act.ACTIVATION_REQUEST_CREATE, errors.ReasonRequired, of=pointer.audited)
def ask(
    release: Release,
    *,
    requester: User,
    actor: str,
    reason: str,
    plan: Plan | None = None,
    activate_at: datetime | None = None,
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> ActivationRequest:
    """Ask for the activation of `release`, at `activate_at` or as soon as it is approved. Return the request.

    `actor` is the requester or a token of theirs. `expected_release_version` and `operation_key` are those of
    `activation.activate`. If the policy needs no approvals and no time is named, the release is activated at once. With
    a `plan`, a gradual activation starts instead.

    Raises `ReasonRequired`, `ActivationTimeInvalid`, `ReleaseNotRegistered`, `ActiveReleaseChanged` and
    `OperationKeyReused`; with a plan also `NoActiveRelease`, `ActiveReleaseRevoked`, `CandidateActive` and
    `GradualActivationRunning`.
    """
    columns = plan.columns if plan else None
    if not reason.strip():
        raise errors.ReasonRequired("A request to activate a release requires a reason.")
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        request = _earlier(pipeline, release, columns, activate_at, operation_key)
        if request is None:
            now = queries.clock()
            _require_in_range(now, activate_at)
            release.refresh_from_db(fields=("status",))
            require_registered(release)
            require_expected(pipeline.activation, expected_release_version)
            if plan is not None:
                require_startable(pipeline, release, expected_release_version)
            expires_at = now + timedelta(hours=pipeline.approval_hours)
            request = ActivationRequest.objects.create(
                pipeline=pipeline,
                release=release,
                base=pipeline.activation,
                plan=columns,
                policy=states.policy_of(pipeline),
                requester=requester,
                actor=actor,
                reason=reason.strip(),
                operation_key=operation_key,
                activate_at=activate_at,
                expires_at=min(expires_at, activate_at) if activate_at else expires_at,
                status=RequestStatus.OPEN if pipeline.approvals else RequestStatus.APPROVED,
            )
            at = activate_at and activate_at.isoformat()
            details = {"activateAt": at, "approvals": pipeline.approvals, "gradual": columns}
            states.record(Act.ACTIVATION_REQUEST_CREATE, request, actor, request.reason, **details)
    return carry_out(request)


def withdraw(request: ActivationRequest, *, actor: str, reason: str) -> ActivationRequest:
    """Withdraw a request that is not decided, or not carried out yet. Return it. A repeated call changes nothing.

    Raises `ReasonRequired` and `RequestNotOpen`.
    """
    if not reason.strip():
        raise errors.ReasonRequired("A withdrawal requires a reason.")
    with transaction.atomic():
        _, found = states.lock(request)
        if found.status != RequestStatus.WITHDRAWN:
            if found.status not in UNDECIDED:
                raise states.not_open(found)
            states.move(found, RequestStatus.WITHDRAWN, detail=reason.strip(), ended_by=actor)
            states.record(Act.ACTIVATION_REQUEST_WITHDRAW, found, actor, reason.strip())
    found.refresh_from_db()
    return found


def expire(limit: int = 100) -> int:
    """Expire at most `limit` requests whose votes came too late. Return their number."""
    rows = ActivationRequest.objects.filter(status=RequestStatus.OPEN, expires_at__lte=Now()).order_by("expires_at")
    with transaction.atomic():
        due = list(rows.select_for_update(skip_locked=True)[:limit])
    return sum(_expire(request) for request in due)


def _expire(request: ActivationRequest) -> bool:
    with transaction.atomic():
        _, found = states.lock(request)
        if found.status != RequestStatus.OPEN:
            return False
        states.move(found, RequestStatus.EXPIRED)
        states.record(Act.ACTIVATION_REQUEST_EXPIRE, found, states.COORDINATOR)
    return True


def _earlier(
    pipeline: Pipeline,
    release: Release,
    plan: dict[str, Any] | None,
    activate_at: datetime | None,
    operation_key: str | None,
) -> ActivationRequest | None:
    """Return the request that has the operation key.

    Raises `OperationKeyReused` if it is for another release or time, or has another plan.
    """
    if operation_key is None:
        return None
    found = pipeline.activation_requests.select_related("release").filter(operation_key=operation_key).first()
    if found is not None and (found.release_id, found.plan, found.activate_at) != (release.pk, plan, activate_at):
        raise errors.OperationKeyReused(
            f"The operation key already requested the activation of release {found.release.release_version!r}. Its "
            "release, its time and its plan must be the same."
        )
    return found


def _require_in_range(now: datetime, activate_at: datetime | None) -> None:
    if activate_at is not None and not now < activate_at <= now + FURTHEST:
        message = f"must be in the future, and at most {FURTHEST.days} days away"
        error = {"field": "activateAt", "code": errors.ActivationTimeInvalid.code, "message": message}
        raise errors.ActivationTimeInvalid(f"The time of the activation {message}.", errors=[error])


# --- votes ---


@audit.denials(Act.ACTIVATION_REQUEST_VOTE, errors.OwnRequest, of=states.audited)
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
            raise errors.OwnRequest("Another person must vote on this request.")
        # As they are now: the caller may have read them before they were deactivated.
        access.require(User.objects.get(pk=voter.pk), found.release.pipeline.tenant, Scope.ACTIVATE)
        earlier = found.votes.filter(round=round_number, voter=voter).first()
        if earlier is not None and earlier.decision != decision:
            raise errors.AlreadyVoted(
                f"The vote of round {round_number} is: {earlier.decision}.", decision=earlier.decision
            )
        # A refusal may follow a change that must be committed, so it is raised after the transaction.
        refusal = None
        if earlier is None:
            refusal = _refusal(pipeline, found, actor, round_number)
            if refusal is None:
                _count_vote(found, Vote(voter=voter, actor=actor, decision=decision, comment=comment.strip()))
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
    changes = states.moved(found, pipeline)
    if changes:
        _restart(pipeline, found, actor, changes)
    elif round_number == found.round:
        return None
    detail = f"The request is in round {found.round}. {states.described(found.moved)}"
    return errors.RequestRestarted(detail, round=found.round, moved=found.moved)


def _restart(pipeline: Pipeline, found: ActivationRequest, actor: str, changes: list[dict[str, Any]]) -> None:
    """Begin a new round, made on what the pipeline is now. Votes of earlier rounds are kept and do not count."""
    found.base, found.policy = pipeline.activation, states.policy_of(pipeline)
    found.round, found.moved = found.round + 1, changes
    found.save(update_fields=("base", "policy", "round", "moved"))
    states.record(Act.ACTIVATION_REQUEST_RESTART, found, actor, round=found.round, moved=changes)


def _count_vote(found: ActivationRequest, ballot: Vote) -> None:
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
