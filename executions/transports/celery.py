"""The Celery transport: commands go to the queue of their release, in sealed messages."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction

from executions import metrics
from executions.models import DeadLetter
from executions.models.states import State
from executions.spans import UNTRACED, Contexts, sending
from executions.state_machine import dead_letters, moves
from executions.state_machine.moves import Claim, Move
from executions.transports.changed_steps import UNCHANGED, ChangedSteps, changed_steps
from executions.workers.tenant_keys import active_keys
from foundation.broker_gate import gate
from wire.broker import sending as broker
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Command, CommandGroup, transition_key
from wire.messages.queues import EXECUTE_TASK, queue_of, ticket_of
from wire.messages.sealing import seal
from wire.messages.task_messages import MessageRefused, commands_in_a_message, groups

TOO_LARGE = "COMMAND_TOO_LARGE"
BROKER_UNAVAILABLE = "BROKER_UNAVAILABLE"

_Message = tuple[ReleaseIdentity, ChangedSteps, list[Claim]]
"""Claims of one release whose commands are sent together, and its `changed_steps`."""


def send(claims: Sequence[Claim]) -> list[Claim]:
    """Send the commands of `claims`. Return the claims that were not sent because the broker refuses messages.

    The claims are committed. A command that is too large for a message fails its execution; it counts as sent.
    """
    unsent: list[Claim] = []
    for message in _messages(claims):
        if unsent or not _send(message):
            unsent += message[2]
    return unsent


def post(claimed: Sequence[Claim]) -> Callable[[], list[Claim]] | None:
    """Write the commands of a few claims, and return a function that waits for the broker and returns as `send` does.

    Waits for nothing itself. Return None if the commands have to be sent: they need several messages, spans or a large
    message, or no connection is open.
    """
    message, *others = _messages(claimed)
    identity, changes, claims = message
    if others or gate.refused or any(claim.traceparent for claim in claims):
        return None
    group = CommandGroup(commands=[command_of(claim, changes=changes) for claim in claims])
    envelope, ticket = _sealed(identity, group, claims[0].claimed_at)
    try:
        wait = broker.post(EXECUTE_TASK, envelope, queue=queue_of(identity), ticket=ticket)
    except MessageRefused:
        return None
    return wait and (lambda: [] if _counted(gate.settle(wait), identity, group) else claims)


def _messages(claims: Sequence[Claim]) -> Iterator[_Message]:
    """Yield the claims of each release, divided into messages.

    An execution that lost its lease gets a separate message: if it kills its worker, no other execution is affected.
    Each message for a release that also has a REST worker carries one command, because such a release keeps no stock.
    """
    by_release: dict[ReleaseIdentity, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.takeovers:
            identity = identity_of(claim)
            yield identity, changed_steps(identity), [claim]
        else:
            by_release[identity_of(claim)].append(claim)
    for identity, group in by_release.items():
        first, changes = group[0], changed_steps(identity)
        most = commands_in_a_message(len(group), threads=first.threads, seconds=first.seconds)
        most = 1 if first.has_rest_worker else most
        sizes = [len(claim.input) + len(claim.finished_items or "") for claim in group]
        for part in groups(group, sizes, most=most):
            yield identity, changes, part


def identity_of(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def _send(message: _Message) -> bool:
    """Send one message, with a ticket that expires no later than the leases. Return False if the broker refuses it."""
    identity, changes, claims = message
    queue = queue_of(identity)
    with sending(claims, queue) as spans:
        group = CommandGroup(commands=[command_of(claim, spans.of(claim), changes) for claim in claims])
        try:
            envelope, ticket = _sealed(identity, group, claims[0].claimed_at)
            was_sent = gate.send(partial(broker.send, EXECUTE_TASK, envelope, queue=queue, ticket=ticket))
        except MessageRefused:
            spans.fail(TOO_LARGE)
            _fail(claims)
            return True
        if not was_sent:
            spans.fail(BROKER_UNAVAILABLE)
        return _counted(was_sent, identity, group)


def _sealed(
    identity: ReleaseIdentity, group: CommandGroup, claimed_at: float
) -> tuple[Mapping[str, Any], broker.Ticket]:
    """Return a group of commands for a message, and its ticket."""
    envelope = seal(identity, group, *active_keys(identity.tenant_id), encrypt=settings.ENCRYPT_PAYLOADS)
    lease_left = settings.LEASE_SECONDS - (time.monotonic() - claimed_at)
    return envelope, broker.Ticket(ticket_of(identity, envelope["nonce"]), lease_left)


def _counted(was_sent: bool, identity: ReleaseIdentity, group: CommandGroup) -> bool:
    if was_sent:
        release = identity.tenant_id, identity.pipeline_id, identity.release_version
        metrics.dispatched.add(*release, amount=len(group.commands))
    return was_sent


def command_of(claim: Claim, contexts: Contexts = UNTRACED, changes: ChangedSteps = UNCHANGED) -> Command:
    """Return the command of a claim. `changes` are those of `changed_steps`."""
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
        traceparent=contexts.traceparent,
        suspended_run=contexts.suspended_run,
        step_timeouts=changes.timeouts,
        item_policies=changes.items,
        last_heartbeat=claim.last_heartbeat or "",
        finished_items=claim.finished_items or "",
    )


def _fail(claims: list[Claim]) -> None:
    """Fail executions whose commands are too large.

    A message holds the payload once for each active key. Only a payload of several megabytes can be too large.
    """
    code, message = TOO_LARGE, "The command, sealed with each active worker key, is too large for a message"
    failures = [
        Move(
            execution_id=claim.execution_id,
            version=claim.version,
            lease_token=claim.lease_token,
            target=State.FAILED,
            kind="FAILED",
            actor=moves.owner(),
            data={"errorCode": code, "errorMessage": message, "attempt": claim.attempt},
            error_code=code,
            error_message=message,
        )
        for claim in claims
    ]
    with transaction.atomic():
        failed = [move.execution_id for move in moves.apply(failures)]
        dead_letters.write(dict.fromkeys(failed, DeadLetter.Reason.NON_RETRYABLE))
