"""The Celery tasks of governance, and the sweep, whose parts lie on several floors. Each is safe to run twice."""

import logging
from collections.abc import Callable

from celery import shared_task

from executions.lifecycle import dispatch as dispatcher
from executions.lifecycle import starts
from executions.lifecycle import sweep as sweeper
from executions.schedules import upkeep
from executions.transports import rest_workers
from executions.workers import message_path
from foundation import wakeup
from foundation.database.postgresql.outage import is_outage
from governance.campaigns import campaigns, drafting, drafts
from governance.gradual import measured
from governance.requests import requests
from governance.retirement import retirement

log = logging.getLogger(__name__)


@shared_task(name="executions.sweep")
def sweep() -> None:
    """Recover from lost messages and dead workers, act on deadlines, dispatch due executions, and advance campaigns.

    Due schedules are announced.

    Several schedulers may send this task. While heartbeats cannot renew leases, or outcomes cannot end them, no lease
    expires. If a part fails, the error is logged and the other parts still run. A database outage stops the sweep.
    """
    message_path.send_probes()
    jobs: tuple[Callable[[], object], ...] = (
        _expire_leases,
        sweeper.awaits_due,
        sweeper.silent_workers,
        sweeper.endpoints,
        rest_workers.announce_checks,
        starts.sweep,
        dispatcher.dispatch,
        drafting.draft,
        campaigns.advance,
        drafts.remove_old,
        upkeep.announce,
        retirement.fail_open,
    )
    for part in jobs:
        try:
            part()
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("A part of the sweep failed")


def _expire_leases() -> None:
    if not message_path.is_interrupted():
        sweeper.expire_leases()


@shared_task(name=retirement.FAIL_TASK)
def fail_revoked() -> None:
    """Carry out the orders of revocations. A lost message or a killed worker only delays this until the sweep."""
    wakeup.started(retirement.FAIL_TASK)
    retirement.fail_open()


@shared_task(name=drafting.DRAFT_TASK)
def draft_campaigns() -> None:
    """Write the next items of large campaigns. A lost message or a killed worker only delays this until the sweep."""
    wakeup.started(drafting.DRAFT_TASK)
    drafting.draft()


@shared_task(name=measured.WATCH_TASK)
def watch_gradual() -> None:
    """Compare candidates with their baselines, withdraw those that are worse, and move others to their next steps."""
    measured.watch()


@shared_task(name="releases.carry_out_requests")
def carry_out_requests() -> None:
    """Decide activation requests whose time or voters decide them, and carry out those that are approved and due."""
    requests.decide()
    requests.carry_out_due()
