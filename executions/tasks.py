"""The execution side's Celery tasks: thin, and safe to run twice. Messages are refused here, with a log line."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import shared_task
from celery.exceptions import Reject
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from coordinator import bell
from coordinator.tenancy.models import Tenant
from executions import awaits, campaigns, orders, outcome, webhooks, worker_registry
from executions import dispatch as dispatcher
from executions import sweep as sweeper
from executions.protocol import (
    HEARTBEAT_TASK,
    RECORD_TASK,
    Heartbeat,
    OutcomeGroup,
    ProtocolError,
    check_fresh,
    decode,
    verify,
    worker_key,
)

log = logging.getLogger(__name__)
AGAIN_AFTER = 0.5


def _key(tenant_id: str) -> str:
    return worker_key(settings.WORKER_SECRET, tenant_id)


@contextmanager
def _kept_while_the_database_is_away() -> Iterator[None]:
    """Put the message back, after a moment, where the database went away: nothing else has what it says."""
    try:
        yield
    except OperationalError as error:
        log.warning("The database did not take what workers told: %s", error)
        time.sleep(AGAIN_AFTER)
        raise Reject(error, requeue=True) from error


@shared_task(name=worker_registry.DISPATCH_TASK)
def dispatch() -> None:
    bell.answered(worker_registry.DISPATCH_TASK)
    dispatcher.dispatch()


@shared_task(name=worker_registry.TELL_TASK)
def tell_worker(worker_pk: int) -> None:
    orders.tell(worker_pk)


@shared_task(name=RECORD_TASK)
def record(message: Any) -> None:
    """A late outcome is as good as its lease, and a repeated one meets a version that has moved on: no age limit."""
    try:
        envelope = verify(message, _key)
        group = decode(envelope, OutcomeGroup)
        with _kept_while_the_database_is_away():
            tenant = Tenant.objects.get(slug=envelope.tenant_id)
    except (ProtocolError, Tenant.DoesNotExist) as error:
        log.warning("Refused an outcome message: %s", error)
        return
    with _kept_while_the_database_is_away():
        outcome.record(tenant, envelope.identity, group)


@shared_task(name=HEARTBEAT_TASK)
def heartbeat(message: Any) -> None:
    try:
        envelope = verify(message, _key)
        sent_at = check_fresh(envelope, now=timezone.now())
        beat = decode(envelope, Heartbeat)
        tenant = Tenant.objects.get(slug=envelope.tenant_id)
    except (ProtocolError, Tenant.DoesNotExist) as error:
        log.warning("Refused a heartbeat: %s", error)
        return
    worker_registry.take_heartbeat(tenant, envelope.identity, beat, sent_at)


@shared_task(name=awaits.EXPIRE_TASK)
def expire_awaits() -> None:
    bell.answered(awaits.EXPIRE_TASK)
    awaits.expire()


@shared_task(name=awaits.SEND_TASK, soft_time_limit=webhooks.sending_seconds())
def send_webhooks() -> None:
    webhooks.send()


@shared_task(name="executions.sweep")
def sweep() -> None:
    """What lost messages and dead workers left behind: expired leases and due rows. And what campaigns admit by now.

    Any number of clocks may ring.
    """
    sweeper.expire_leases()
    sweeper.awaits_due()
    sweeper.silent_workers()
    dispatcher.dispatch()
    campaigns.advance()
