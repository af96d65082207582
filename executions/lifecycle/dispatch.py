"""Sends due executions to the workers of the release that each is pinned to. Never looks at the active release."""

import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from functools import cache, partial

from django.conf import settings
from django.db import transaction

from executions.lifecycle import dead_letters, moves
from executions.lifecycle.moves import Claim, Move
from executions.lifecycle.states import State
from executions.models import DeadLetter
from executions.transports.rest import assignment, calls
from executions.workers.tenant_keys import active_keys
from foundation.wakeups.broker_gate import gate
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    EXECUTE_TASK,
    Command,
    CommandGroup,
    queue_of,
    seal,
    ticket_of,
    transition_key,
)
from wire.messages.grouping import commands_in_a_message, groups
from wire.messages.task_messages import MessageRefused


@cache
def owner() -> str:
    """The name under which this process holds leases."""
    return f"coordinator@{socket.gethostname()}"


def dispatch() -> int:
    """Claim due executions and send them, batch by batch, until nothing claimable is left. Returns how many were sent.

    A claim is committed before anything is sent. If the broker refuses a message, the claims that were not sent go
    back to the queue, due again after DISPATCH_RETRY_SECONDS, and dispatch ends. While the broker is known to refuse,
    nothing is claimed, and afterwards only a few at first.
    """
    sent = 0
    more = True
    while more and gate.is_open():
        leased_at = time.monotonic()
        claims, more = moves.claim(
            owner=owner(),
            limit=gate.batch(settings.SWEEP_LIMIT),
            lease_seconds=settings.LEASE_SECONDS,
            call_seconds=calls.lease_seconds(),
            quota=settings.TENANT_MAX_IN_FLIGHT,
        )
        if not claims:
            break
        unsent: list[Claim] = []
        for message in _messages(assignment.share(claims, unsent.extend)):
            if unsent or not _send(message, leased_at):
                unsent += message
            else:
                sent += len(message)
        if unsent:
            _give_back(unsent)
            break
        gate.sent_whole(len(claims))
    return sent  # no more due work, or no room for it: freeing room sends another wake-up


def _messages(claims: list[Claim]) -> Iterator[list[Claim]]:
    """Yield the claims of each release, in as many messages as are worth it.

    An execution that lost its lease gets a separate message: if it kills its worker, no other execution is affected.
    """
    by_release: dict[ReleaseIdentity, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.takeovers:
            yield [claim]
        else:
            by_release[identity_of(claim)].append(claim)
    for group in by_release.values():
        most = commands_in_a_message(len(group), threads=group[0].threads, seconds=group[0].seconds)
        yield from groups(group, [len(claim.input) for claim in group], most=most)


def identity_of(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def _send(claims: list[Claim], leased_at: float) -> bool:
    """Send the commands with a ticket that expires no later than their leases. Return False if the broker refuses them.

    Commands that are too large for a message fail.
    """
    identity = identity_of(claims[0])
    group = CommandGroup(commands=[command_of(claim) for claim in claims])
    envelope = seal(identity, group, *active_keys(identity.tenant_id), encrypt=settings.ENCRYPT_PAYLOADS)
    ticket = client.Ticket(
        ticket_of(identity, envelope["nonce"]), settings.LEASE_SECONDS - (time.monotonic() - leased_at)
    )
    try:
        return gate.send(partial(client.send, EXECUTE_TASK, envelope, queue=queue_of(identity), ticket=ticket))
    except MessageRefused:
        _fail(claims)
        return True


def command_of(claim: Claim) -> Command:
    return Command(
        execution_id=claim.execution_id,
        current_step_index=claim.step_index,
        stop_before_step_index=-1,
        checkpoints=claim.checkpoints,
        attempt=claim.attempt,
        result_shape=claim.result_shape,
        execution_version=claim.version,
        transition_key=transition_key(claim.execution_id, claim.step_index, claim.attempt),
        lease_token=claim.lease_token,
        lease_seconds=settings.LEASE_SECONDS,
        shape=claim.input_shape,
        payload=claim.input,
    )


def _fail(claims: list[Claim]) -> None:
    """A message holds the payload once for each active key. Only a payload of several megabytes can be too large."""
    code, message = "COMMAND_TOO_LARGE", "The command, sealed with each active worker key, is too large for a message"
    failures = [
        Move(
            execution_id=claim.execution_id,
            version=claim.version,
            lease_token=claim.lease_token,
            target=State.FAILED,
            kind="FAILED",
            actor=owner(),
            data={"errorCode": code, "errorMessage": message, "attempt": claim.attempt},
            error_code=code,
            error_message=message,
        )
        for claim in claims
    ]
    with transaction.atomic():
        failed = [move.execution_id for move in moves.apply(failures)]
        dead_letters.write(failed, DeadLetter.Reason.NON_RETRYABLE, retryable=False)


def _give_back(claims: list[Claim]) -> None:
    returned = [
        Move(
            execution_id=claim.execution_id,
            version=claim.version,
            lease_token=claim.lease_token,
            target=State.QUEUED,
            kind="DISPATCH_FAILED",
            actor=owner(),
            data={"reason": "broker unavailable", "delaySeconds": settings.DISPATCH_RETRY_SECONDS},
            step_index=claim.step_index,
            attempt=claim.attempt,
            delay=timedelta(seconds=settings.DISPATCH_RETRY_SECONDS),
        )
        for claim in claims
    ]
    with transaction.atomic():
        moves.apply(returned)
