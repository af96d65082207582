"""The scheduler of the clock, whose main loop beats."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from logging.config import dictConfig
from typing import Any, Final

from celery.apps.beat import Beat
from celery.beat import Scheduler
from celery.schedules import schedule
from django.conf import settings

from coordinator.monitoring.process import liveness

FIRST_RUN: Final = timedelta(minutes=1)
"""When a job with a longer interval runs for the first time after the start."""


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
            begun = self.now() - saved
            self.add(name=name, task=job["task"], schedule=interval, options=job["options"], last_run_at=begun)

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


class Clock(Beat):
    """The process `coordinator run clock`. It sends tasks by their names, so it loads neither tasks nor models."""

    def init_loader(self) -> None:
        """Configure the logs, as `django.setup` does in other processes.

        That would also load all models, and Django's handler of e-mails to administrators, which loads views.
        """
        dictConfig(settings.LOGGING)
