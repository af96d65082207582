"""Submits to a release that is not active yet: waits until it is."""

import time
from collections.abc import Callable

from executions.submission.submission import ExecutionRequest, Verdict, submit_many
from foundation import pauses
from releases.errors import ReleaseNotOpen
from tenancy.models import Tenant

LONGEST_WAIT_SECONDS = 30


def submit_when_open(
    tenant: Tenant,
    request: ExecutionRequest,
    *,
    actor: str,
    token: str | None = None,
    wait_seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Submit `request` as `submit_many` does. If its release was never active, wait for up to `wait_seconds`.

    Each attempt decides by the current state, so a release that is revoked meanwhile is refused. `pause` sleeps for a
    number of seconds and is not called in a transaction.
    """
    deadline = time.monotonic() + wait_seconds
    [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    for seconds in pauses.until(deadline):
        if not isinstance(verdict, ReleaseNotOpen) or not verdict.may_open:
            break
        pause(seconds)
        [verdict] = submit_many(tenant, [request], actor=actor, token=token)
    return verdict
