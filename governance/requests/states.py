"""Locks activation requests, moves them from state to state, and records that in the audit log.

The row lock of the pipeline serialises everything that decides about its requests: votes, withdrawals, activations and
changes of the policy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.postgres.functions import TransactionNow

from foundation.database import writes
from releases.errors import ReleaseRevoked, RequestNotOpen
from releases.models import Activation, ActivationRequest, Pipeline, Revocation, Vote
from releases.models.pipeline import MEMBERS
from releases.states import REQUEST_MOVES, UNDECIDED, RequestStatus
from tenancy import access, audit
from tenancy.audit.acts import Act
from tenancy.roles import Scope

COORDINATOR = "coordinator"
"""The actor of what happens without a person."""
LONGEST_DETAIL = 2000


def lock(request: ActivationRequest) -> tuple[Pipeline, ActivationRequest]:
    """Lock the pipeline and then the request until the end of the transaction, and return both as they are now."""
    # Without a join: after a wait for the lock, PostgreSQL re-reads the locked row, but not the joined rows.
    pipeline = Pipeline.objects.select_for_update().get(pk=request.pipeline_id)
    rows = ActivationRequest.objects.select_for_update(of=("self",)).select_related("release__pipeline__tenant", "base")
    return pipeline, rows.get(pk=request.pk)


def move(request: ActivationRequest, target: RequestStatus, **changes: Any) -> bool:
    """Move a request from the state in which it was read. Return False if another process moved it first."""
    rows = ActivationRequest.objects.filter(pk=request.pk)
    source = RequestStatus(request.status)
    return writes.move(rows, REQUEST_MOVES, source, target, status_changed_at=TransactionNow(), **changes)


def approvals(request: ActivationRequest) -> list[Vote]:
    """Return the approvals of the current round whose voters hold the right to vote now, oldest first."""
    entitled = access.entitled(request.release.pipeline.tenant, Scope.VOTE)
    votes = request.votes.filter(round=request.round, decision=Vote.Decision.APPROVE, voter__in=entitled)
    return list(votes.order_by("pk"))


def not_open(request: ActivationRequest, status: str | None = None) -> RequestNotOpen:
    status = status or request.status
    return RequestNotOpen(f"The request is {status}.", requestStatus=status)


def require_approved(request: ActivationRequest) -> None:
    """Lock a request that is carried out. Raises `RequestNotOpen` and `ScopeMissing`.

    It may have been withdrawn since it was read, and the requester may have lost the right.
    """
    locked = ActivationRequest.objects.select_for_update().get(pk=request.pk)
    if locked.status != RequestStatus.APPROVED:
        raise not_open(locked)
    refusal = requester_refusal(locked)
    if refusal is not None:
        raise refusal


def requester_refusal(request: ActivationRequest) -> access.ScopeMissing | None:
    """Return the refusal of a request whose requester may no longer activate releases, or None."""
    entitled = access.entitled(request.release.pipeline.tenant, Scope.ACTIVATE)
    if entitled.filter(pk=request.requester_id).exists():
        return None
    name = access.actor(request.requester)
    return access.ScopeMissing(f"{name}, who made the request, no longer holds the scope {Scope.ACTIVATE.value!r}.")


def record(act: Act, request: ActivationRequest, actor: str, reason: str = "", **details: Any) -> None:
    """Append an entry to the audit log. Call this last in a transaction."""
    audit.record(act, **audited(request, actor=actor), reason=reason, **details)


def audited(request: ActivationRequest, *, actor: str, **_: Any) -> dict[str, Any]:
    """Return what an entry of the audit log says about an act on the request."""
    release = request.release
    name = f"{release.audit_name}/{request.pk}"
    return {"tenant": release.pipeline.tenant, "actor": actor, "object": name}


def fail_revoked(revocation: Revocation) -> None:
    """Fail the undecided requests for a release that the transaction revokes. It has locked the pipeline.

    The entry of the revocation in the audit log stands for them.
    """
    rows = ActivationRequest.objects.filter(release=revocation.release_id, status__in=UNDECIDED)
    detail = f"The release was revoked: {revocation.reason}"[:LONGEST_DETAIL]
    for request in rows.order_by("pk").select_for_update():
        move(request, RequestStatus.FAILED, code=ReleaseRevoked.code, detail=detail)


ACTIVE = "activeRelease"


def policy_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return all members of the policy with their values."""
    return {member.name: getattr(pipeline, member.column) for member in MEMBERS}


def moved(request: ActivationRequest, pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return what has moved since the current round of the request began: members of the policy, or ACTIVE.

    Each has its name as `member`, and its values `before` and `after`. Members that the policy got in an upgrade of the
    coordinator are not compared.
    """
    policy = policy_of(pipeline)
    changes = [
        {"member": name, "before": value, "after": policy[name]}
        for name, value in request.policy.items()
        if name in policy and policy[name] != value
    ]
    if request.base_id != pipeline.activation_id:
        changes.append({"member": ACTIVE, "before": _named(request.base), "after": _named(pipeline.activation)})
    return changes


def described(changes: Sequence[Mapping[str, Any]]) -> str:
    """Return what has moved in one sentence."""
    sentences = [
        f"{change['member']} was {_text(change['before'])} and is now {_text(change['after'])}" for change in changes
    ]
    return f"{'; '.join(sentences) or 'Nothing has moved'}."


def _named(activation: Activation | None) -> str | None:
    return f"{activation.release.release_version} (activation {activation.sequence})" if activation else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
