"""The execution side's Celery tasks: thin, and safe to run twice. Messages are refused here, with a log line."""

import logging
import uuid
from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from coordinator.tenancy.models import Tenant
from executions import awaits, campaigns, outcome, rest_dispatch, webhooks, worker_registry
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
from executions.rest_assignment import CALL_TASK

log = logging.getLogger(__name__)


def _key(tenant_id: str) -> str:
    return worker_key(settings.WORKER_SECRET, tenant_id)


@shared_task(name=worker_registry.DISPATCH_TASK)
def dispatch() -> None:
    dispatcher.dispatch()


@shared_task(name=RECORD_TASK)
def record(message: Any) -> None:
    """A late outcome is as good as its lease, and a repeated one meets a version that has moved on: no age limit."""
    try:
        envelope = verify(message, _key)
        group = decode(envelope, OutcomeGroup)
        tenant = Tenant.objects.get(slug=envelope.tenant_id)
    except (ProtocolError, Tenant.DoesNotExist) as error:
        log.warning("Refused an outcome message: %s", error)
        return
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


@shared_task(name=CALL_TASK, acks_late=False)
def call_rest_worker(execution_id: str, lease_token: str) -> None:
    """May take as long as a request may, so it is acknowledged at once: where it is lost, the lease sees to it."""
    rest_dispatch.run(uuid.UUID(execution_id), uuid.UUID(lease_token))


@shared_task(name=awaits.EXPIRE_TASK)
def expire_awaits() -> None:
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
