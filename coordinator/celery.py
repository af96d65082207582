"""The control worker and the clock: `celery -A coordinator.celery worker` and `celery -A coordinator.celery beat`."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from celery import Celery, signals
from django.conf import settings
from django.db import close_old_connections
from kombu import Queue

from coordinator.processes import Kind
from foundation import places, wakeup
from wire.addresses import transport_options
from wire.broker.client import survive_broker_loss
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.task_messages import TaskMessages, signing_keys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
# Celery discards the results of Django's system checks, which import every page. `coordinator check` reports them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

log = logging.getLogger(__name__)
logging.captureWarnings(True)
survive_broker_loss()


class Application(Celery):
    @cached_property
    def Beat(self) -> Any:  # noqa: N802 - Celery's name
        from coordinator.monitoring.loops import Clock  # needs the settings

        return self.subclass_with_self(Clock)


app = Application("coordinator")


@signals.setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Keep the logs that Django's settings configure. Without a receiver, Celery would change their level."""


@signals.worker_init.connect
def _begin_worker(sender: Any, **_: Any) -> None:
    from coordinator import boot_checks  # these need Django's settings
    from coordinator.monitoring import gauges, process
    from executions.lifecycle.dispatch import begin, dispatch
    from executions.state_machine.endings import demand
    from executions.workers.registry import DISPATCH_TASK
    from foundation.database import threads
    from wire.broker import quiet_consumer

    threads.keep_connections_by_thread()
    process.guard_database()
    boot_checks.require_ordinary_role()
    boot_checks.require_migrations()
    # Dispatches when an outcome leaves capacity for more work, for many outcomes at once.
    wakeup.handle_here(DISPATCH_TASK, dispatch, begin)
    demand.follow()
    app.steps["consumer"].add(quiet_consumer.loop_beats(settings.BEAT_SECONDS, process.liveness))
    process.start(Kind.CONTROL, gauges.exposition)
    # Last, because Celery logs an exception of a receiver and continues.
    boot_checks.count_connections_soon(processes=1, threads=sender.concurrency)
    boot_checks.note_settings("worker")


@signals.beat_init.connect
def _begin_clock(sender: Any, **_: Any) -> None:
    from coordinator.monitoring import process

    log.info("The clock has started")
    process.guard_database()
    process.start(Kind.CLOCK, jobs=sender.scheduler.ages)


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


QUEUES: Mapping[str, Sequence[str]] = {
    # All other tasks. They are short: those that withdraw candidates or activate must not wait for long ones.
    "control": (),
    # Of all queues, workers can write only to the next two (`wire.messages.queues`).
    OUTCOME_QUEUE: (RECORD_TASK,),
    # The second task shows that heartbeats arrive.
    HEARTBEAT_QUEUE: (HEARTBEAT_TASK, "executions.confirm_messages"),
    # Receivers of webhooks and REST workers may be slow. An installation can serve these queues with separate workers.
    "webhooks": ("executions.send_webhooks", "alerts.deliver", "alerts.notify", "outbox.invitations"),
    "rest": ("executions.call_rest_worker",),
    # Reading entire artifacts, requests to image registries, and the removal of old rows may take long.
    "artifacts": (
        "releases.verify",
        "releases.scrub",
        "releases.check_blob",
        "releases.finish_upload",
        "releases.remove_orphans",
        "executions.remove_old",
        "alerts.remove_old",
    ),
}
"""The queues and their tasks. A message is accepted only from its task's queue."""

app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_queues=[Queue(name) for name in QUEUES],
    task_routes={task: {"queue": queue} for queue, tasks in QUEUES.items() for task in tasks},
    task_default_queue="control",
    # Messages are sent to queues by name. The broker would keep the bindings of an exchange forever.
    task_default_exchange="",
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_publish_retry=False,
    timezone="UTC",
    # Only control workers load it.
    worker_consumer="wire.broker.quiet_consumer:QuietConsumer",
    worker_pool="threads",
    # The default of `--concurrency`. Celery's own default, one thread for each core, may be too few for all queues.
    worker_concurrency=12,
    worker_prefetch_multiplier=1,
    # With remote control, any client of the broker could stop the worker and read the settings.
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    beat_scheduler="coordinator.monitoring.loops:SteadyScheduler",
    beat_max_loop_interval=settings.BEAT_SECONDS,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A wake-up may be lost, so its sender must not wait for an unreachable broker: `max_retries` applies to connections
    # for sending, which would otherwise be tried for six seconds. Workers and the clock wait as the lines above say.
    broker_transport_options={
        # Messages of a killed control worker are redelivered before leases end. Its tasks are short and safe to repeat.
        "visibility_timeout": 15,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # One worker at a time redelivers, under a lock. If it is killed, the lock is free after this time.
        "unacked_mutex_expire": 10,
        "max_retries": 0,
        "takes_batches": True,
        "messages": TaskMessages(
            accepts=_accepts,
            # Workers send these. They sign the envelopes inside with their tenant's key.
            unsigned=(RECORD_TASK, HEARTBEAT_TASK),
            keys=signing_keys([settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]),
        ),
        **settings.BROKER_TIMEOUTS,
        **transport_options(settings.REDIS_URL, settings.BROKER_TLS, **settings.BROKER_TIMEOUTS),
    },
)
app.autodiscover_tasks(["outbox", "releases", "executions", "governance", "alerts"])
