"""Measures when each step of a transition ran."""

from __future__ import annotations

import time

from wire.messages.celery_messages import StepSpan
from wire.messages.limits import MOST_SPANS


class StepTimes:
    """The spans of the steps of one transition: from the first call of each step to the end of its newest one."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[float, float]] = {}

    def add(self, step_index: int, begun: float) -> None:
        """Record a call of a step that began at ``begun``, as `time.time` gives it, and ends now."""
        first = self._spans.get(step_index)
        self._spans[step_index] = (begun if first is None else first[0], time.time())

    def spans(self) -> list[StepSpan]:
        """Return the spans in the order of the steps, at most MOST_SPANS."""
        return [
            StepSpan(step_index=index, started_at_epoch_ms=int(begun * 1000), ended_at_epoch_ms=int(ended * 1000))
            for index, (begun, ended) in sorted(self._spans.items())[:MOST_SPANS]
        ]
