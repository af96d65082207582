"""The control worker and the clock: `celery -A coordinator.celery worker` and `celery -A coordinator.celery beat`."""

import os
from typing import Any

from celery import Celery, signals
from django.db import close_old_connections
from kombu import Queue

from coordinator import bell, connection_budget
from executions.broker import survive_broker_loss
from executions.protocol import OUTCOME_QUEUE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")

survive_broker_loss()
app = Celery("coordinator")


@signals.worker_init.connect
def _require_ordinary_role(**_: Any) -> None:
    from coordinator import role_check  # needs Django's settings

    role_check.require_ordinary_role()


@signals.worker_init.connect
def _answer_bells_here(**_: Any) -> None:
    """What a control worker makes room for it sends out itself, in a thread that does so for many outcomes at once."""
    from executions.dispatch import dispatch
    from executions.worker_registry import DISPATCH_TASK

    bell.answer_here(DISPATCH_TASK, dispatch)


@signals.worker_init.connect
def _check_connection_budget(sender: Any, **_: Any) -> None:
    connection_budget.check_soon(processes=1, threads=sender.concurrency)


@signals.celeryd_after_setup.connect
def _leave_room_beside_artifacts(instance: Any, **_: Any) -> None:
    """A worker that serves other queues too keeps half of its threads for them."""
    from releases.tasks import limit_artifact_tasks

    threads, others = instance.concurrency, set(app.amqp.queues.consume_from) - {"artifacts"}
    limit_artifact_tasks(max(threads // 2, 1) if others else threads)


@signals.task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    """Connections outlive tasks (CELERY_DB_REUSE_MAX), but not a database that was started anew."""
    close_old_connections()


app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in ("control", OUTCOME_QUEUE, "webhooks", "rest", "artifacts")]
app.autodiscover_tasks(["releases", "executions"])
