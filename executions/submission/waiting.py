"""Submits to a release that is not active yet: waits until it is."""

import time
from collections.abc import Callable

from executions.submission.submission import ExecutionRequest, Verdict, submit_many
from releases.errors import ReleaseNotOpen
from tenancy.models import Tenant

LONGEST_WAIT_SECONDS = 30
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_GROWTH = 1.5


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
    seconds = FIRST_PAUSE_SECONDS
    while True:
        [verdict] = submit_many(tenant, [request], actor=actor, token=token)
        left = deadline - time.monotonic()
        if not isinstance(verdict, ReleaseNotOpen) or not verdict.may_open or left <= 0:
            return verdict
        pause(min(seconds, left))
        seconds = min(seconds * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
