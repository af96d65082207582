"""The control worker and the clock: `celery -A coordinator.celery worker` and `celery -A coordinator.celery beat`."""

import os

from celery import Celery
from kombu import Queue

from executions.broker import survive_broker_loss
from executions.protocol import OUTCOME_QUEUE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")

survive_broker_loss()
app = Celery("coordinator")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue("control"), Queue(OUTCOME_QUEUE), Queue("webhooks"), Queue("artifacts")]
app.autodiscover_tasks(["releases", "executions"])
