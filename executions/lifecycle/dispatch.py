"""Claims due executions and hands them to the transports of their workers. Never looks at the active release."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import transaction

from executions import metrics
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import Claim, Move, owner
from executions.transports import celery
from executions.transports.rest import lease_seconds, send_claims
from executions.workers.registry import CELERY, REST
from foundation.broker_gate import gate

RETRY_SECONDS = 15
"""The delay before a new claim after the broker refused the command. It limits the number of events in an outage."""


def dispatch() -> int:
    """Claim due executions and send them, batch by batch, until nothing claimable is left. Returns how many were sent.

    A claim is committed before anything is sent. If the broker refuses a message, the claims that were not sent go
    back to the queue, due again after RETRY_SECONDS, and dispatch ends. While the broker is known to refuse,
    nothing is claimed, and afterwards only a few at first.
    """
    sent = 0
    more = True
    while more and gate.is_open():
        claims, more = moves.claim(
            owner=owner(),
            limit=gate.batch(settings.SWEEP_LIMIT),
            lease_seconds=settings.LEASE_SECONDS,
            call_seconds=lease_seconds(),
            quota=settings.TENANT_MAX_IN_FLIGHT,
        )
        if not claims:
            break
        count = send(claims)
        sent += count
        more = more and count == len(claims)
    return sent  # no more due work, or no room for it: freeing room sends another wake-up


def begin(claims: Sequence[Claim]) -> Callable[[], int]:
    """Write the commands of committed claims if that waits for nothing. Return a function that does the rest of `send`.

    So their worker begins before a thread that may wait for the broker has woken up.
    """
    wait = celery.post(claims) if all(claim.protocol == CELERY for claim in claims) else None
    return partial(send, claims) if wait is None else partial(_finish, claims, wait)


def send(claims: Sequence[Claim]) -> int:
    """Send committed claims and return how many the broker accepted. Give the others back to the queue."""
    return _finish(claims, partial(_send, claims))


def _finish(claims: Sequence[Claim], send: Callable[[], list[Claim]]) -> int:
    _count(claims)
    unsent = send()
    if unsent:
        _give_back(unsent)
    else:
        gate.batch_sent(len(claims))
    return len(claims) - len(unsent)


def _count(claims: Sequence[Claim]) -> None:
    metrics.dispatch_groups.observe(amount=len(claims))
    metrics.write_lines(
        "Claimed", (((claim.tenant, claim.pipeline_id, claim.release_version), claim.execution_id) for claim in claims)
    )
    seconds: dict[metrics.Pin, list[float]] = {}
    for claim in claims:
        release = claim.tenant, claim.pipeline_id, claim.release_version
        seconds.setdefault(release, []).append(max(claim.due_seconds, 0))
    for release, amounts in seconds.items():
        metrics.schedule_to_start.observe_all(*release, amounts=amounts)


def _send(claims: Sequence[Claim]) -> list[Claim]:
    """Send each claim over its transport. Return the claims that were not sent; after a refusal nothing is sent."""
    commands = [claim for claim in claims if claim.protocol == CELERY]
    unsent = send_claims([claim for claim in claims if claim.protocol == REST])
    return [*unsent, *commands] if unsent else celery.send(commands)


def _give_back(claims: Sequence[Claim]) -> None:
    """Queue the executions again. The attempt does not count, because no worker has begun it."""
    returned = [
        Move(
            execution_id=claim.execution_id,
            version=claim.version,
            lease_token=claim.lease_token,
            target=State.QUEUED,
            kind="DISPATCH_FAILED",
            actor=owner(),
            data={"reason": "broker unavailable", "delaySeconds": RETRY_SECONDS},
            step_index=claim.step_index,
            attempt=claim.attempt,
            delay=timedelta(seconds=RETRY_SECONDS),
        )
        for claim in claims
    ]
    with transaction.atomic():
        moves.apply(returned)
    metrics.refused.add(amount=len(claims))
