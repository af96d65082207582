"""Recovers from lost messages and dead workers, and acts on deadlines. Any number of processes may sweep at once."""

import logging

from django.conf import settings
from django.db import transaction

from executions import metrics
from executions.awaits import awaits, webhooks
from executions.lifecycle import rest_calls
from executions.models import DeadLetter
from executions.models.states import State
from executions.state_machine import dead_letters, moves
from executions.state_machine.moves import owner
from executions.transports import rest_workers
from executions.workers import registry

log = logging.getLogger(__name__)


def expire_leases() -> int:
    """End expired leases. Their executions are queued again, or move to DLQ after too many lost leases in a row.

    After the call of a REST worker, the outcome is unknown. Returns how many leases had expired.
    """
    with transaction.atomic():
        expired = moves.expire_leases(
            actor=owner(),
            limit=settings.SWEEP_LIMIT,
            most_takeovers=settings.TAKEOVER_LIMIT,
            lease_seconds=settings.LEASE_SECONDS,
        )
        exhausted = [pk for pk, expiry in expired.items() if expiry.state is State.DLQ]
        dead_letters.write(dict.fromkeys(exhausted, DeadLetter.Reason.LEASES_LOST))
    for expiry in expired.values():
        metrics.leases_lost.add(expiry.tenant, expiry.pipeline_id, expiry.release_version)
    if expired:
        log.warning("%d leases expired; %d executions moved to DLQ", len(expired), len(exhausted))
    lost = rest_calls.end_lost()
    if lost:
        log.warning("%d calls of REST workers have an unknown outcome", lost)
    return len(expired) + lost


def awaits_due() -> int:
    """Expire awaits that are past their deadline, batch after batch. Announce due webhooks that no message announced.

    Returns how many executions were handled.
    """
    handled = 0
    while expired := awaits.expire():
        handled += expired
    webhooks.OUTBOX.announce()
    return handled


def silent_workers() -> int:
    """Write an event for each worker that has become silent. Returns how many there were."""
    silent = registry.note_silent(actor=owner(), limit=settings.SWEEP_LIMIT)
    if silent:
        log.warning("%d workers have become silent", silent)
    return silent


def endpoints() -> int:
    """Check the endpoints of REST workers against the settings. Return how many workers were blocked or unblocked."""
    changed = rest_workers.review_endpoints(actor=owner())
    if changed:
        log.warning("%d REST workers were blocked or unblocked by REST_WORKER_ORIGINS", changed)
    return changed
