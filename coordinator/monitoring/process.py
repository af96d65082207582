"""Starts what a process tells about itself: its spans, the port for metrics and probes, reports to the database."""

import sys
from typing import Final

from django.conf import settings

from coordinator.models import Process
from coordinator.monitoring import gauges
from coordinator.monitoring.reports import Jobs, Reporter, no_jobs
from foundation.telemetry import traces
from foundation.telemetry.exposition import Endpoint, Exposition, Monitored, Readings
from foundation.telemetry.liveness import Liveness

liveness: Final = Liveness(longest_silence=settings.LIVENESS_SECONDS)
"""The main loop of a control worker or a clock. A web process has slots instead."""
exposition: Final = Exposition(gauges.read)


def start(kind: Process.Kind, *, jobs: Jobs = no_jobs, alive: Liveness = liveness) -> None:
    """Start the threads of this process. Call this after the last fork. Ends the process if METRICS_PORT is in use.

    `jobs` returns how many seconds ago the process last started each of its periodic jobs. `/live` tells `alive`.
    """
    if settings.TRACES_ENDPOINT:
        traces.start(settings.TRACES_ENDPOINT, sample=settings.TRACES_SAMPLE, service=f"coordinator-{kind.value}")
    if settings.METRICS_PORT:
        # The clock has no task that reads the database, so its counts suffice.
        counts = Exposition(_nothing) if kind is Process.Kind.CLOCK else exposition
        shared = kind is Process.Kind.WEB
        monitored = Monitored(counts, alive, settings.METRICS_TOKEN)
        try:
            Endpoint(settings.METRICS_HOST, settings.METRICS_PORT, monitored, shared=shared).start()
        except OSError as error:
            sys.exit(
                f"METRICS_PORT: cannot listen at {settings.METRICS_HOST}:{settings.METRICS_PORT}: {error.strerror}"
            )
    Reporter(kind, jobs=jobs).start()


def _nothing() -> Readings:
    return {}
