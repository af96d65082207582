"""The beats of the main loops: that of a control worker, and that of the clock."""

from typing import Any

from celery import bootsteps
from celery.beat import PersistentScheduler

from coordinator.monitoring.process import liveness

BEAT_SECONDS = 5.0


class LoopBeats(bootsteps.StartStopStep):
    """Beats in the event loop of a control worker. Until the loop has a connection, it waits."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None
        liveness.begin_wait()

    def start(self, parent: Any) -> None:
        liveness.end_wait()
        self._timer = parent.timer.call_repeatedly(BEAT_SECONDS, liveness.beat)

    def stop(self, parent: Any) -> None:
        """Celery also calls this when it loses the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            liveness.begin_wait()

    terminate = stop


class BeatingScheduler(PersistentScheduler):
    """The scheduler of the clock. It beats at each tick, and waits until it has connected to the broker once.

    Later it sends without waiting: a message that the broker refuses is an error in the log.
    """

    def tick(self, *arguments: Any, **options: Any) -> Any:
        if "producer" in vars(self):
            liveness.beat()
            return super().tick(*arguments, **options)
        with liveness.waiting():
            return super().tick(*arguments, **options)
