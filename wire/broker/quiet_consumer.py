"""Celery's consumer without the events that workers send to each other over the broker, and the beats of its loop."""

from typing import Any

from celery import bootsteps
from celery.worker.consumer import Consumer

from wire.probes import Liveness

NAME = f"{__name__}:QuietConsumer"
QUIET = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class QuietConsumer(Consumer):
    """Sends and receives no events. Overrides the worker's command-line options.

    Use it in the setting `worker_consumer`, together with `worker_enable_remote_control=False`.
    """

    def __init__(self, on_task_request: Any, **options: Any) -> None:
        quiet = {"worker_options": {**options["worker_options"], **QUIET}, "task_events": False}
        super().__init__(on_task_request, **{**options, **quiet})


def loop_beats(seconds: float, liveness: Liveness) -> type[bootsteps.StartStopStep]:
    """Return a step of a consumer that beats every `seconds` in Celery's own loop.

    While the worker has no connection to the broker, the loop waits.
    """

    class LoopBeats(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._timer: Any = None
            liveness.begin_wait()

        def start(self, parent: Any) -> None:
            liveness.end_wait()
            self._timer = parent.timer.call_repeatedly(seconds, liveness.beat)

        def stop(self, parent: Any) -> None:
            """Celery also calls this when it loses the connection."""
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
                liveness.begin_wait()

        terminate = stop

    return LoopBeats
