"""Measures when each step of a transition ran."""

from __future__ import annotations

import time

from wire.messages.celery_messages import StepSpan
from wire.messages.limits import MOST_SPANS


class StepTimes:
    """The spans of the steps of one transition: from the first call of each step to the end of its newest one."""

    def __init__(self) -> None:
        self._spans: dict[int, StepSpan] = {}

    def add(self, step_index: int, begun: float) -> None:
        """Record a call of a step that began at ``begun``, as `time.time` gives it, and ends now."""
        first = self._spans.get(step_index)
        started = int(begun * 1000) if first is None else first[1]
        self._spans[step_index] = (step_index, started, int(time.time() * 1000))

    def spans(self) -> list[StepSpan]:
        """Return the spans in the order of the steps, at most MOST_SPANS."""
        return sorted(self._spans.values())[:MOST_SPANS]
