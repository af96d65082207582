"""Submits executions: checks whether the pipeline admits them, and pins each one to a release permanently.

This is the active release, or the candidate of a gradual activation for the part of the executions that it gets.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from executions.errors import TenantNotAllowed
from executions.submission import admission
from executions.submission.batch import Batch, Item
from executions.submission.requests import ExecutionRequest, Submission, Verdict
from foundation import retry
from foundation.errors import CoordinatorError
from releases.errors import ActiveReleaseChanged, ReleaseNotOpen
from tenancy.models import Tenant

__all__ = [
    "LONGEST_WAIT_SECONDS",
    "ExecutionRequest",
    "Submission",
    "Verdict",
    "submit",
    "submit_many",
    "submit_when_open",
]

MAX_ROUNDS: Final = 5
LONGEST_WAIT_SECONDS: Final = 30


def submit(tenant: Tenant, request: ExecutionRequest, *, actor: str, token: str | None = None) -> Submission:
    """Submit one execution.

    When this returns, the execution is durable and pinned, and it will run, even if another release is activated later.
    A repeated key with an equal input returns the first execution, even if a new one would be rejected now.

    `token` is the digest of the caller's token if a cached check authenticated it: the token must still be valid when
    the row is inserted.

    Raises, in this order: `TenantNotAllowed`, `TokenInvalid`, `PipelineUnknown`, `IdempotencyKeyReused`,
    `NoActiveRelease`, `PipelinePaused`, `ActiveReleaseChanged`, `InputInvalid`, `ArtifactMissing`, `ArtifactAltered`,
    `ArtifactUnverified`, `WorkerUnavailable`, `QuotaExceeded`. With `release_version`, it raises `ReleaseUnknown`,
    `ReleaseNotAdmitted` and `ReleaseNotOpen` instead of `NoActiveRelease`. An input larger than the tenant's quota
    raises `PayloadTooLarge` after `IdempotencyKeyReused`. Then an unknown channel in `notify` raises
    `NotifyChannelUnknown`, and a `start` that is not possible raises `InvalidRequest`. Last, a release
    that limits its executions may raise `ConcurrencyLimitReached`.
    """
    [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    if isinstance(verdict, CoordinatorError):
        raise verdict
    return verdict


def submit_many(
    tenant: Tenant, requests: Sequence[ExecutionRequest], *, actor: str, token: str | None = None
) -> list[Verdict]:
    """Submit each request as `submit` does. Return their results in the same order.

    All accepted executions are durable when this returns. A rejected request does not affect the others. If several
    requests have the same key, the first of them that can be accepted is, and the others repeat it.
    """
    try:
        admission.require_allowed(tenant)
    except TenantNotAllowed as refusal:
        return [refusal.with_traceback(None)] * len(requests)
    batch = Batch(tenant, [Item(request) for request in requests], actor, token)
    for item in batch.items:
        if item.request.notify is not None:
            batch.find_channels()
            break
    for item in batch.items:
        if item.request.start is not None:
            item.refusal = item.refusal or item.request.start.refusal()
    batch.accept_cached()
    for _ in range(MAX_ROUNDS):
        if not batch.undecided:
            break
        batch.decide()
    return [
        item.verdict
        or ActiveReleaseChanged(f"The active release of {item.request.pipeline_id!r} keeps changing; submit again.")
        for item in batch.items
    ]


def submit_when_open(
    tenant: Tenant,
    request: ExecutionRequest,
    *,
    actor: str,
    token: str | None = None,
    wait_seconds: float,
    pause: Callable[[float], None],
) -> Verdict:
    """Submit `request` as `submit_many` does. If its release was never active, wait for up to `wait_seconds`.

    Each attempt decides by the current state, so a release that is revoked meanwhile is refused. `pause` sleeps for a
    number of seconds and is not called in a transaction.
    """
    deadline = time.monotonic() + wait_seconds
    [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    for seconds in retry.pauses_until(deadline):
        if not isinstance(verdict, ReleaseNotOpen) or not verdict.may_open:
            break
        pause(seconds)
        [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    return verdict
