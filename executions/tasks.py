"""The Celery tasks of executions: thin, and safe to run twice. Invalid messages are rejected here, with a log line."""

import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any

from celery import shared_task
from django.db import Error
from django.utils import timezone

from executions import metrics, statistics
from executions.awaits import awaits, webhooks
from executions.errors import WorkerLimitReached
from executions.lifecycle import dispatch as dispatcher
from executions.lifecycle import outcome, rest_calls, retention, starts
from executions.schedules import statements as schedules
from executions.schedules import upkeep
from executions.state_machine import moves
from executions.submission import places as places_of_keys
from executions.submission.requests import PROMOTE_TASK
from executions.transports import rest
from executions.transports.rest import CALL_TASK
from executions.workers import instructions, message_path, registry
from executions.workers.eligibility import CHECK_TASK
from executions.workers.tenant_keys import active_keys
from foundation import places, wakeup
from foundation.database.compiled import Compiled
from foundation.places import Turns
from tenancy.models import Tenant
from wire.messages.celery_messages import Heartbeat, OutcomeGroup
from wire.messages.queues import HEARTBEAT_TASK, RECORD_TASK
from wire.messages.sealing import ProtocolError, Verified, check_fresh, decode, verify

log = logging.getLogger(__name__)
REMOVE_TASK = "executions.remove_old"
REMOVAL_SECONDS = 10.0
REMOVALS = 5
"""How many removals follow each other at most. The clock starts the first one every minute."""
_checks = rest.turns(places.CHECKS)
_repeated_checks = rest.turns(places.REPEATED_CHECKS, unanswered=True)


_TENANT = Compiled(lambda slug: Tenant.objects.filter(slug=slug).order_by(), slug="slug")


def _tenant(verified: Verified) -> Tenant:
    """Return the tenant of a verified message.

    Raises `ProtocolError` TENANT_UNKNOWN: a key can be derived for any name, even if there is no such tenant.
    """
    tenant = _TENANT.first(slug=verified.identity.tenant_id)
    if tenant is None:
        raise ProtocolError("TENANT_UNKNOWN", f"There is no tenant {verified.identity.tenant_id!r}.")
    return tenant


@shared_task(name=registry.DISPATCH_TASK)
def dispatch() -> None:
    wakeup.started(registry.DISPATCH_TASK)
    dispatcher.dispatch()


@shared_task(name=registry.INSTRUCT_TASK)
def tell_worker(worker_pk: int, lost_leases: Sequence[str] = ()) -> None:
    instructions.send(worker_pk, [uuid.UUID(token) for token in lost_leases])


# `outcome.record` raises only errors that may pass. Without retries, finished steps would have to run again.
@shared_task(name=RECORD_TASK, autoretry_for=(Error, OSError, MemoryError), default_retry_delay=1, max_retries=None)
def record(message: Any) -> None:
    """Record a group of outcomes. Messages have no age limit: a late outcome is valid as long as its lease is, and the
    guard of the version drops a repeated one.
    """
    try:
        verified = verify(message, active_keys)
        if (sent_at := message_path.probe_time(verified.identity)) is not None:
            message_path.confirm_outcomes(sent_at)
            return
        group = decode(verified, OutcomeGroup)
    except ProtocolError as error:
        instructions.refuse_outcomes(message, error)
        return
    if outcome.record(verified.identity, group):
        wakeup.send_once(registry.DISPATCH_TASK)  # its places are free


@shared_task(name=HEARTBEAT_TASK)
def heartbeat(message: Any) -> None:
    try:
        verified = verify(message, active_keys)
        sent_at = check_fresh(verified, now=timezone.now())
        body = decode(verified, Heartbeat)
        tenant = _tenant(verified)
        registry.take_heartbeat(tenant, verified.identity, body, sent_at)
        metrics.heartbeats.add(tenant.slug, verified.identity.pipeline_id, verified.identity.release_version)
    except WorkerLimitReached as error:
        instructions.refuse_heartbeat(message, ProtocolError(error.code, error.detail))
    except ProtocolError as error:
        instructions.refuse_heartbeat(message, error)


@shared_task(name=CALL_TASK, acks_late=False)
def call_rest_worker(execution_id: str, lease_token: str, waits: int = 0) -> None:
    """Call a REST worker. A call may take long, so the message is acknowledged at once; if the process dies, the lease
    expires.
    """
    rest_calls.run(uuid.UUID(execution_id), uuid.UUID(lease_token), waits)


@shared_task(name=CHECK_TASK, acks_late=False)
def check_capability() -> None:
    """Check the REST worker whose turn it is, and send the message again until no worker is due.

    The message is also sent before the check, so that a worker that does not answer delays no other worker.
    """
    wakeup.started(CHECK_TASK)
    if _check_next(_repeated_checks) or _check_next(_checks):
        wakeup.send_once(CHECK_TASK)


def _check_next(of: Turns) -> bool:
    with of.take() as due:
        if due is None:
            return False
        wakeup.send_once(CHECK_TASK)
        rest.check(due)
    return True


@shared_task(name=PROMOTE_TASK)
def promote_low() -> None:
    wakeup.started(PROMOTE_TASK)
    starts.promote()


@shared_task(name=moves.GRANT_TASK)
def grant_places(execution_ids: Sequence[str]) -> None:
    places_of_keys.grant([uuid.UUID(execution_id) for execution_id in execution_ids])


@shared_task(name=places_of_keys.GRANT_DUE_TASK)
def grant_due_places() -> None:
    wakeup.started(places_of_keys.GRANT_DUE_TASK)
    places_of_keys.sweep()


@shared_task(name=awaits.EXPIRE_TASK)
def expire_awaits() -> None:
    wakeup.started(awaits.EXPIRE_TASK)
    awaits.expire()


@shared_task(name=awaits.SEND_TASK)
def send_webhooks() -> None:
    webhooks.OUTBOX.send()


@shared_task(name=awaits.CALL_TASK)
def call_children() -> None:
    from executions.children import asking  # many installations need it never

    asking.call_next()


@shared_task(name=moves.FAMILY_TASK)
def hand_over_ends() -> None:
    from executions.children import ends  # many installations need it never

    ends.hand_over()


@shared_task(name=schedules.FIRE_TASK)
def fire_schedules() -> None:
    """Fire due schedules. A lost message or a killed worker only delays this until the sweep."""
    from executions.schedules import firing  # many installations need it never

    wakeup.started(schedules.FIRE_TASK)
    firing.fire()


@shared_task(name=message_path.CONFIRM_TASK)
def confirm_messages(sent_at: float) -> None:
    message_path.take_probe(sent_at)


@shared_task(name="executions.count_finished")
def count_finished() -> None:
    """Count the executions that finished in the last minutes. A lost message only delays this."""
    statistics.count()


@shared_task(name=REMOVE_TASK)
def remove_old(removals: int = 1, seconds: float = REMOVAL_SECONDS) -> None:
    """Remove old executions for at most `seconds`, and one batch of former workers.

    The task is short, because the broker delivers a long one again. If its time was up, it sends itself again, and
    waits for the clock after REMOVALS. Concurrent runs share the work.
    """
    with places.ARTIFACTS.hold() as free:
        if free:
            began = time.monotonic()
            retention.remove(seconds=seconds)
            if time.monotonic() - began >= seconds and removals < REMOVALS:
                wakeup.send(REMOVE_TASK, removals + 1)
            registry.tidy(actor=moves.owner())
            upkeep.remove_old()
