"""What a run of steps returns, and when its steps ran."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.waits import Await
from pipelines.failures import Failed
from wire.messages.celery_messages import MOST_SPANS, StepSpan


@dataclass(frozen=True, slots=True)
class Completed:
    """All requested steps have run. ``many`` is False if ``outputs`` is one single value.

    ``step_index`` and ``step_name`` are those of the last step that ran.
    """

    outputs: list[Any]
    many: bool
    step_index: int | None = dataclasses.field(default=None, compare=False)
    step_name: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Suspended:
    """The run reached an await.

    If ``itemized``, there is one request for each item of a stream. Otherwise there is one request,
    which is a list if the await takes many.
    """

    step_index: int
    step: PlannedStep
    requests: list[Any]
    itemized: bool

    @property
    def step_name(self) -> str:
        return self.step.name

    @property
    def waits(self) -> Await:
        """The await, as the author defined it."""
        if self.step.waits is None:
            raise TypeError(f"step {self.step.name} is not an await")
        return self.step.waits


RunResult = Completed | Suspended | Failed


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
