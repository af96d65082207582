"""The periodic jobs: what the clock sends, and how often."""

from datetime import timedelta
from typing import Any

from django.conf import settings


def periodic_jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs of the clock: their tasks, all of them idempotent, and how often they are sent."""
    sweep = settings.SWEEP_SECONDS
    seconds = {
        "sweep-executions": ("executions.sweep", sweep),
        "watch-gradual-activations": ("executions.watch_gradual", 15),
        "count-finished-executions": ("executions.count_finished", 60),
        "remove-old-executions": ("executions.remove_old", 60),
        "sweep-releases": ("releases.sweep", max(sweep, 5)),
        "carry-out-requests": ("releases.carry_out_requests", max(sweep, 5)),
        "evaluate-alerts": ("alerts.evaluate", 30),
        "remove-old-alerts": ("alerts.remove_old", 3600),
        "scrub-blobs": ("releases.scrub", max(sweep, 60)),
    }
    if settings.ORPHAN_SWEEP:
        seconds["remove-orphans"] = ("releases.remove_orphans", 3600)
    return {name: {"task": task, "schedule": timedelta(seconds=every)} for name, (task, every) in seconds.items()}
