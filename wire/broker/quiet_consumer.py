"""Celery's consumer without the events by which workers report to each other over the broker."""

from typing import Any

from celery.worker.consumer import Consumer

NAME = f"{__name__}:QuietConsumer"
QUIET = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class QuietConsumer(Consumer):
    """Sends and receives no events. Overrides the worker's command-line options.

    Use it in the setting `worker_consumer`, together with `worker_enable_remote_control=False`.
    """

    def __init__(self, on_task_request: Any, **options: Any) -> None:
        quiet = {"worker_options": {**options["worker_options"], **QUIET}, "task_events": False}
        super().__init__(on_task_request, **{**options, **quiet})
