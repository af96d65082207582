"""The control worker and the clock: `celery -A coordinator.celery worker` and `celery -A coordinator.celery beat`."""

import logging
import os
import sys
from functools import cache
from typing import Any

from celery import Celery, signals
from django.conf import settings
from django.db import close_old_connections
from kombu import Queue

from foundation.scheduling import places
from foundation.wakeups import wakeup
from wire.broker import quiet_consumer
from wire.broker.client import survive_broker_loss
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.task_messages import TaskMessages, signing_keys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
# Celery discards the results of Django's system checks, which import every page. `coordinator check` reports them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

log = logging.getLogger(__name__)
logging.captureWarnings(True)
survive_broker_loss()
app = Celery("coordinator")


@signals.setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Keep the logs that Django's settings configure. Without a receiver, Celery would change their level."""


@signals.beat_init.connect
def _log_start(**_: Any) -> None:
    log.info("The clock has started")


@signals.worker_init.connect
def _require_ordinary_role(**_: Any) -> None:
    from coordinator import boot_checks, database_guard, settings_record  # need Django's settings

    database_guard.start()
    boot_checks.require_ordinary_role()
    boot_checks.require_migrations()
    settings_record.note_settings("worker")


@signals.worker_init.connect
def _dispatch_in_this_process(**_: Any) -> None:
    """Dispatch in a thread of this process when an outcome leaves capacity for more work, for many outcomes at once."""
    from executions.lifecycle.dispatch import dispatch
    from executions.workers.registry import DISPATCH_TASK

    wakeup.handle_here(DISPATCH_TASK, dispatch)


@signals.worker_init.connect
def _check_connection_budget(sender: Any, **_: Any) -> None:
    from coordinator import boot_checks

    boot_checks.count_connections_soon(processes=1, threads=sender.concurrency)


@signals.worker_init.connect
def _monitor_worker(**_: Any) -> None:
    from coordinator.models import Process
    from coordinator.monitoring import loops, process

    app.steps["consumer"].add(loops.LoopBeats)
    process.start(Process.Kind.CONTROL)


@signals.beat_init.connect
def _monitor_clock(sender: Any, **_: Any) -> None:
    from coordinator import database_guard
    from coordinator.models import Process
    from coordinator.monitoring import process

    database_guard.start()
    process.start(Process.Kind.CLOCK, jobs=sender.scheduler.ages)


@signals.celeryd_after_setup.connect
def _leave_room_for_short_tasks(instance: Any, **_: Any) -> None:
    try:
        places.allot(instance.concurrency, list(app.amqp.queues.consume_from))
    except ValueError as error:
        sys.exit(str(error))


@signals.task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    """Close connections that the database has closed. Tasks share connections (CELERY_DB_REUSE_MAX)."""
    close_old_connections()


@cache
def _queues_of_tasks() -> dict[str, str]:
    """Return the queue of each task of this project. Excludes Celery's own tasks, because they can send other tasks."""
    names = [name for name in app.tasks if not name.startswith("celery.")]
    return {name: app.amqp.router.route({}, name)["queue"].name for name in names}


def _accepts(queue: str, task: str) -> bool:
    return _queues_of_tasks().get(task) == queue


app.config_from_object("django.conf:settings", namespace="CELERY")
# Of these queues, workers can write only to those of outcomes and heartbeats (`wire.messages.queues`).
QUEUES = ("control", OUTCOME_QUEUE, HEARTBEAT_QUEUE, "webhooks", "rest", "artifacts")
app.conf.task_queues = [Queue(name) for name in QUEUES]
app.conf.worker_consumer = quiet_consumer.NAME
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "takes_batches": True,
    "messages": TaskMessages(
        accepts=_accepts,
        # Workers send these. They sign the envelopes inside with their tenant's key.
        unsigned=(RECORD_TASK, HEARTBEAT_TASK),
        keys=signing_keys([settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]),
    ),
}
app.autodiscover_tasks(["releases", "executions", "alerts"])
