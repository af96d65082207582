"""Makes, withdraws and expires requests to activate a release, at once or gradually, and counts the votes on them.

A request records the newest activation and the policy of its pipeline. It is OPEN until enough people have approved it,
and APPROVED until its time. A policy that needs no approvals makes it APPROVED at once.

An approved request has at most one activation, and both are written in one transaction. So a call that died is repeated
by the next clock task, and concurrent calls activate once.
"""

import logging
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from governance.activation import activation
from governance.gradual import changes
from governance.gradual.changes import require_startable
from governance.gradual.plan import Plan
from governance.requests import states
from releases import errors, queries
from releases.models import ActivationRequest, Pipeline, Release, Vote
from releases.pointer import require_expected, require_registered
from releases.states import UNDECIDED, RequestStatus
from tenancy import access, audit
from tenancy.audit.acts import Act
from tenancy.roles import Scope

log = logging.getLogger(__name__)


Decision = Vote.Decision
FURTHEST = timedelta(days=365)
"""How far in the future the time of an activation may be."""


@audit.denials(Act.ACTIVATION_REQUEST_CREATE, errors.ReasonRequired, of=Release.audited)
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
        _, locked = states.lock(request)
        if locked.status != RequestStatus.WITHDRAWN:
            if locked.status not in UNDECIDED:
                raise states.not_open(locked)
            states.move(locked, RequestStatus.WITHDRAWN, detail=reason.strip(), ended_by=actor)
            states.record(Act.ACTIVATION_REQUEST_WITHDRAW, locked, actor, reason.strip())
    locked.refresh_from_db()
    return locked


# Selects open requests that expired, or have enough approvals, perhaps of people who may not vote now. Those that
# another process has locked are left out. No row: every open request waits for votes.
UNDECIDED_ROWS = """
SELECT q.* FROM releases_activationrequest q WHERE q.status = 'OPEN' AND (q.expires_at <= now()
    OR (q.policy ->> 'approvals')::int <= (SELECT count(*) FROM releases_vote v
        WHERE v.request_id = q.id AND v.round = q.round AND v.decision = 'approve'))
ORDER BY q.expires_at LIMIT %s FOR UPDATE SKIP LOCKED
"""


def decide(limit: int = 100) -> int:
    """Decide at most `limit` open requests without a vote. Return how many are decided then.

    Expires those whose votes came too late. Approves those that have enough approvals because voters may vote again,
    unless something has moved since the round began.
    """
    with transaction.atomic():
        undecided = list(ActivationRequest.objects.raw(UNDECIDED_ROWS, [limit]))
    return sum(_decide(request) for request in undecided)


def _decide(request: ActivationRequest) -> bool:
    with transaction.atomic():
        pipeline, locked = states.lock(request)
        if locked.status != RequestStatus.OPEN:
            return False
        if _expire(locked):
            return True
        approvals = len(states.approvals(locked))
        if approvals < locked.approvals_needed or states.moved(locked, pipeline):
            return False
        states.move(locked, RequestStatus.APPROVED)
        states.record(
            Act.ACTIVATION_REQUEST_APPROVE, locked, states.COORDINATOR, round=locked.round, approvals=approvals
        )
    return True


def _expire(request: ActivationRequest) -> bool:
    """Expire a locked open request if its time has passed. Return True if it has."""
    if not ActivationRequest.objects.filter(pk=request.pk, expires_at__lte=Now()).exists():
        return False
    states.move(request, RequestStatus.EXPIRED)
    states.record(Act.ACTIVATION_REQUEST_EXPIRE, request, states.COORDINATOR)
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
    earlier = pipeline.activation_requests.select_related("release").filter(operation_key=operation_key).first()
    if earlier is not None and (earlier.release_id, earlier.plan, earlier.activate_at) != (
        release.pk,
        plan,
        activate_at,
    ):
        raise errors.OperationKeyReused(
            f"The operation key already requested the activation of release {earlier.release.release_version!r}. Its "
            "release, its time and its plan must be the same."
        )
    return earlier


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

    If something has moved since the round began, the request begins a new one, and the vote does not count, also if it
    repeats one that counted. Raises
    `OwnRequest`, `RequestNotOpen`, `RequestRestarted` with what has moved, `AlreadyVoted`, and `ScopeMissing` or
    `NotFound` if the voter has lost the right.
    """
    with transaction.atomic():
        pipeline, locked = states.lock(request)
        if locked.requester_id == voter.pk:
            raise errors.OwnRequest("Another person must vote on this request.")
        # As they are now: the caller may have read them before they were deactivated.
        access.require(User.objects.get(pk=voter.pk), locked.release.pipeline.tenant, Scope.VOTE)
        earlier = locked.votes.filter(round=round_number, voter=voter).first()
        if earlier is not None and earlier.decision != decision:
            raise errors.AlreadyVoted(
                f"The vote of round {round_number} is: {earlier.decision}.", decision=earlier.decision
            )
        # A refusal may follow a change that must be committed, so it is raised after the transaction.
        refusal = None
        if earlier is None or _is_overtaken(pipeline, locked, round_number):
            refusal = _refusal(pipeline, locked, actor, round_number)
            if refusal is None:
                _count_vote(locked, Vote(voter=voter, actor=actor, decision=decision, comment=comment.strip()))
    if refusal is not None:
        raise refusal
    locked.refresh_from_db()
    return carry_out(locked)


def _is_overtaken(pipeline: Pipeline, request: ActivationRequest, round_number: int) -> bool:
    """True if something has moved since this round, the current one, began. Its votes count no longer."""
    is_current = request.status == RequestStatus.OPEN and request.round == round_number
    return is_current and bool(states.moved(request, pipeline))


def _refusal(pipeline: Pipeline, request: ActivationRequest, actor: str, round_number: int) -> CoordinatorError | None:
    """Return why a vote does not count, or None. Expires or restarts the request if its time or its base has gone."""
    if request.status != RequestStatus.OPEN:
        return states.not_open(request)
    if _expire(request):
        return states.not_open(request, RequestStatus.EXPIRED)
    changes = states.moved(request, pipeline)
    if changes:
        _restart(pipeline, request, actor, changes)
    elif round_number == request.round:
        return None
    detail = f"The request is in round {request.round}. {states.described(request.moved)}"
    return errors.RequestRestarted(detail, round=request.round, moved=request.moved)


def _restart(pipeline: Pipeline, request: ActivationRequest, actor: str, changes: list[dict[str, Any]]) -> None:
    """Begin a new round, made on what the pipeline is now. Votes of earlier rounds are kept and do not count."""
    request.base, request.policy = pipeline.activation, states.policy_of(pipeline)
    request.round, request.moved = request.round + 1, changes
    request.save(update_fields=("base", "policy", "round", "moved"))
    states.record(Act.ACTIVATION_REQUEST_RESTART, request, actor, round=request.round, moved=changes)


def _count_vote(request: ActivationRequest, ballot: Vote) -> None:
    """Write the vote, and decide the request if the vote decides it."""
    ballot.request, ballot.round = request, request.round
    ballot.save(force_insert=True)
    approvals = len(states.approvals(request))
    if ballot.decision == Decision.REFUSE:
        states.move(request, RequestStatus.REFUSED)
    elif approvals >= request.approvals_needed:
        states.move(request, RequestStatus.APPROVED)
    states.record(
        Act.ACTIVATION_REQUEST_VOTE,
        request,
        ballot.actor,
        ballot.comment,
        decision=ballot.decision,
        round=request.round,
        approvals=approvals,
    )


# --- approved requests ---


def carry_out(request: ActivationRequest) -> ActivationRequest:
    """Activate the release if the request is APPROVED and its time has come. Return the request as it is then.

    A request with a plan starts a gradual activation of the release instead.

    Every gate is judged again. If one is unmet, or if what was approved has moved, the request is FAILED and says why.
    It stays APPROVED if the artifact store does not respond.
    """
    due = _due().filter(pk=request.pk).select_related("release__pipeline__tenant", "requester", "base").first()
    if due is not None:
        try:
            _activate(due)
        except CoordinatorError as refusal:
            _refused(due, refusal)
    request.refresh_from_db()
    return request


def carry_out_due(group: int = 100) -> int:
    """Carry out the requests whose time has come, in groups. Return how many of them are ACTIVATED then.

    If one cannot be carried out, the error is logged, and the others are still carried out.
    """
    activated, tried = 0, set[UUID]()
    while True:
        with transaction.atomic():
            # Another process carries out those that it has locked.
            rows = _due().order_by("activate_at", "created_at").select_for_update(skip_locked=True)
            due = list((rows.exclude(pk__in=tried) if tried else rows)[:group])
        tried |= {request.pk for request in due}
        for request in due:
            try:
                activated += carry_out(request).status == RequestStatus.ACTIVATED
            except DatabaseError as error:
                if is_outage(error):
                    raise
                log.exception("The activation request %s could not be carried out", request.pk)
        if len(due) < group:
            return activated


def _due() -> QuerySet[ActivationRequest]:
    now = Q(activate_at=None) | Q(activate_at__lte=Now())
    return ActivationRequest.objects.filter(now, status=RequestStatus.APPROVED)


def _activate(request: ActivationRequest) -> None:
    release, actor, reason = request.release, request.actor, request.reason
    if request.plan is None:
        activation.activate(release, actor=actor, reason=reason, request=request)
    else:
        changes.start(release, Plan.from_json(**request.plan), actor=actor, reason=reason, request=request)


def _refused(request: ActivationRequest, refusal: CoordinatorError) -> None:
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("The activation request %s cannot be carried out yet: %s", request.pk, refusal.detail)
        return
    with transaction.atomic():
        _, locked = states.lock(request)
        if locked.status == RequestStatus.APPROVED:
            detail = refusal.detail[: states.LONGEST_DETAIL]
            states.move(locked, RequestStatus.FAILED, code=refusal.code, detail=detail)
            states.record(Act.ACTIVATION_REQUEST_FAIL, locked, states.COORDINATOR, detail, code=refusal.code)
