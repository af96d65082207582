"""A step that lasts until its gate is open: until a file is there. Where it `heeds`, it ends early once cancelled."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext


@dataclass
class Work:
    number: int
    gate: str
    heeds: bool = False


pipeline = Pipeline("tests.patient")


@pipeline.step
def wait(work: Work, context: StepContext) -> Work:
    while not Path(work.gate).exists():
        if work.heeds:
            context.raise_if_cancelled()
        time.sleep(0.05)
    return work
