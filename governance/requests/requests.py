"""Makes, withdraws and expires requests to activate a release, at once or gradually.

A request records the newest activation and the policy of its pipeline. It is OPEN until enough people have approved it,
and APPROVED until its time. A policy that needs no approvals makes it APPROVED at once.
"""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from governance.gradual.plan import Plan
from governance.gradual.start import require_startable
from governance.requests import states
from governance.requests.carrying_out import carry_out
from releases import pointer, queries
from releases.errors import (
    ActivationTimeInvalid,
    OperationKeyReused,
    ReasonRequired,
)
from releases.models import ActivationRequest, Pipeline, Release
from releases.states import UNDECIDED, RequestStatus
from tenancy import audit
from tenancy.audit.acts import Act

FURTHEST = timedelta(days=365)
"""How far in the future the time of an activation may be."""


@audit.denials(Act.ACTIVATION_REQUEST_CREATE, ReasonRequired, of=Release.audited)
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
        raise ReasonRequired("A request to activate a release requires a reason.")
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        request = _earlier(pipeline, release, columns, activate_at, operation_key)
        if request is None:
            now = queries.clock()
            _require_in_range(now, activate_at)
            release.refresh_from_db(fields=("status",))
            pointer.require_registered(release)
            pointer.require_expected(pipeline.activation, expected_release_version)
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
        raise ReasonRequired("A withdrawal requires a reason.")
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
        raise OperationKeyReused(
            f"The operation key already requested the activation of release {found.release.release_version!r}. Its "
            "release, its time and its plan must be the same."
        )
    return found


def _require_in_range(now: datetime, activate_at: datetime | None) -> None:
    if activate_at is not None and not now < activate_at <= now + FURTHEST:
        message = f"must be in the future, and at most {FURTHEST.days} days away"
        error = {"field": "activateAt", "code": ActivationTimeInvalid.code, "message": message}
        raise ActivationTimeInvalid(f"The time of the activation {message}.", errors=[error])
