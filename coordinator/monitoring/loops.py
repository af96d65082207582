"""The beats of the main loops: that of a control worker, and that of the clock."""

from typing import Any

from celery import bootsteps
from celery.beat import PersistentScheduler, Scheduler
from django.conf import settings

from coordinator.monitoring.process import liveness


class LoopBeats(bootsteps.StartStopStep):
    """Beats in the event loop of a control worker. Until the loop has a connection, it waits."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None
        liveness.begin_wait()

    def start(self, parent: Any) -> None:
        liveness.end_wait()
        self._timer = parent.timer.call_repeatedly(settings.BEAT_SECONDS, liveness.beat)

    def stop(self, parent: Any) -> None:
        """Celery also calls this when it loses the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            liveness.begin_wait()

    terminate = stop


class MemoryScheduler(Scheduler):
    """The scheduler of the clock. It beats at each tick, and waits until it has connected to the broker once.

    Later it sends without waiting: a message that the broker refuses is an error in the log. It forgets when the jobs
    ran last. That does no harm, because all of them are frequent and safe to repeat.
    """

    def tick(self, *arguments: Any, **options: Any) -> Any:
        if "producer" in vars(self):
            liveness.beat()
            return super().tick(*arguments, **options)
        with liveness.waiting():
            return super().tick(*arguments, **options)


class FileScheduler(MemoryScheduler, PersistentScheduler):
    """A scheduler that keeps the last run of each job in a file."""
