"""Locks activation requests, moves them from state to state, and records that in the audit log.

The row lock of the pipeline serialises everything that decides about its requests: votes, withdrawals, activations and
changes of the policy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.postgres.functions import TransactionNow

from foundation.database import guarded_update
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
    return guarded_update.move(rows, REQUEST_MOVES, source, target, status_changed_at=TransactionNow(), **changes)


def approvals(request: ActivationRequest) -> list[Vote]:
    """Return the approvals of the current round whose voters hold the right to vote now, oldest first."""
    entitled = access.entitled(request.release.pipeline.tenant, Scope.ACTIVATE)
    votes = request.votes.filter(round=request.round, decision=Vote.Decision.APPROVE, voter__in=entitled)
    return list(votes.order_by("pk"))


def not_open(request: ActivationRequest, status: str | None = None) -> RequestNotOpen:
    status = status or request.status
    return RequestNotOpen(f"The request is {status}.", requestStatus=status)


def record(act: Act, request: ActivationRequest, actor: str, reason: str = "", **details: Any) -> None:
    """Append an entry to the audit log. Call this last in a transaction."""
    audit.record(act, **named(request, actor), reason=reason, **details)


def named(request: ActivationRequest, actor: str) -> dict[str, Any]:
    """Return the arguments of an entry of the audit log that name the request and the actor."""
    release = request.release
    name = f"{release.audit_name}/{request.pk}"
    return {"tenant": release.pipeline.tenant, "actor": actor, "object_type": "activation_request", "object": name}


def fail_revoked(revocation: Revocation) -> None:
    """Fail the undecided requests for a release that the transaction revokes. It has locked the pipeline.

    The entry of the revocation in the audit log stands for them.
    """
    rows = ActivationRequest.objects.filter(release=revocation.release_id, status__in=UNDECIDED)
    detail = f"The release was revoked: {revocation.reason}"[:LONGEST_DETAIL]
    for request in rows.order_by("pk").select_for_update():
        move(request, RequestStatus.FAILED, code=ReleaseRevoked.code, detail=detail)


ACTIVE = "activeRelease"


@dataclass(frozen=True, slots=True)
class Moved:
    """A member of the policy, or ACTIVE, that has another value than the one that the request is made on."""

    member: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def policy_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return all members of the policy with their values."""
    return {member.name: getattr(pipeline, member.column) for member in MEMBERS}


def moved(request: ActivationRequest, pipeline: Pipeline) -> list[Moved]:
    """Return what has moved since the current round of the request began.

    Members that the policy got in an upgrade of the coordinator are not compared.
    """
    policy = policy_of(pipeline)
    found = [
        Moved(name, value, policy[name])
        for name, value in request.policy.items()
        if name in policy and policy[name] != value
    ]
    if request.base_id != pipeline.activation_id:
        found.append(Moved(ACTIVE, _named(request.base), _named(pipeline.activation)))
    return found


def described(changes: Sequence[Moved]) -> str:
    """Return what has moved in one sentence."""
    found = [f"{each.member} was {_text(each.before)} and is now {_text(each.after)}" for each in changes]
    return f"{'; '.join(found) or 'Nothing has moved'}."


def _named(activation: Activation | None) -> str | None:
    return f"{activation.release.release_version} (activation {activation.sequence})" if activation else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
