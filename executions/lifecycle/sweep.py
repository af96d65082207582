"""What lost messages, dead workers and the passing of time leave to do: bounded, and safe for any number of clocks."""

import logging

from django.conf import settings
from django.db import transaction

from executions.awaits import awaits, webhooks
from executions.lifecycle import dead_letters, moves
from executions.lifecycle.moves import owner
from executions.lifecycle.states import State
from executions.models import DeadLetter
from executions.transports.rest import workers
from executions.workers import registry
from foundation.wakeups import wakeup

log = logging.getLogger(__name__)


def expire_leases() -> int:
    """Queue again what lost its lease; what lost too many in a row ends in DLQ. Returns how many leases had expired."""
    with transaction.atomic():
        went = moves.expire_leases(actor=owner(), limit=settings.SWEEP_LIMIT, most_takeovers=settings.TAKEOVER_LIMIT)
        hopeless = [execution_id for execution_id, state in went.items() if state is State.DLQ]
        dead_letters.write(hopeless, DeadLetter.Reason.LEASES_LOST, retryable=True)
    if went:
        log.warning("%d leases had expired; %d executions are given up", len(went), len(hopeless))
    return len(went)


def awaits_due() -> int:
    """See to awaits whose deadline has passed, batch after batch, and ring where a webhook is due that none rang for.

    Returns how many executions were looked at.
    """
    seen = 0
    while found := awaits.expire():
        seen += found
    if webhooks.due_exists():
        wakeup.send(awaits.SEND_TASK)
    return seen


def silent_workers() -> int:
    """Note in their histories which workers have become silent. Returns how many."""
    silent = registry.note_silent(actor=owner(), limit=settings.SWEEP_LIMIT)
    if silent:
        log.warning("%d workers have become silent", silent)
    return silent


def endpoints() -> int:
    """Check the endpoints of REST workers against the settings. Return how many workers were blocked or unblocked."""
    changed = workers.review_endpoints(actor=owner())
    if changed:
        log.warning("%d REST workers were blocked or unblocked by REST_WORKER_ORIGINS", changed)
    return changed
