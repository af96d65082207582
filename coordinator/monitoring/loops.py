"""The beats of the main loops: that of a control worker, and that of the clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from celery import bootsteps
from celery.beat import Scheduler
from celery.schedules import schedule
from django.conf import settings

from coordinator.monitoring.process import liveness

FIRST_RUN: Final = timedelta(minutes=1)
"""When a job with a longer interval runs for the first time after the start."""


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


class SteadyScheduler(Scheduler):
    """The scheduler of the clock. All jobs run at intervals, by `clock`, which no change of the host's time moves.

    Every job is due within a minute of the start, because none does harm if it runs again. `sent_at` is when each job
    was last sent to the broker, by `clock`. The scheduler beats at each tick, and waits until it has connected to the
    broker once. Later it sends without waiting: a message that the broker refuses is an error in the log.
    """

    def __init__(self, *arguments: Any, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        self.clock = clock
        self.sent_at: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def now(self) -> datetime:
        """Return the time by `clock`, whose beginning means nothing."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def setup_schedule(self) -> None:
        for name, job in self.app.conf.beat_schedule.items():
            interval = schedule(job["schedule"], nowfun=self.now, app=self.app)
            saved = max(job["schedule"] - FIRST_RUN, timedelta())
            self.add(name=name, task=job["task"], schedule=interval, last_run_at=self.now() - saved)

    @cached_property
    def producer(self) -> Any:
        """The sender of messages, which Celery connects when the first job is due."""
        with liveness.waiting():
            return super().producer

    def tick(self, *arguments: Any, **options: Any) -> Any:
        liveness.beat()
        return super().tick(*arguments, **options)

    def apply_async(self, entry: Any, *arguments: Any, **options: Any) -> Any:
        sent = super().apply_async(entry, *arguments, **options)
        self.sent_at[entry.name] = self.clock()
        return sent

    def ages(self) -> dict[str, float]:
        """Return how many seconds ago each job was last sent. Jobs that were not sent yet are missing."""
        return {name: self.clock() - at for name, at in self.sent_at.copy().items()}
