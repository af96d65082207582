"""A step that waits until its gate, a file, exists. With `checks_cancellation` it ends early once cancelled."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext


@dataclass
class Work:
    number: int
    gate: str
    checks_cancellation: bool = False


pipeline = Pipeline("tests.waiting")


@pipeline.step
def wait(work: Work, context: StepContext) -> Work:
    while not Path(work.gate).exists():
        if work.checks_cancellation:
            context.raise_if_cancelled()
        time.sleep(0.05)
    return work
