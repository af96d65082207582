"""A step that lasts until its gate is open: until a file is there."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline


@dataclass
class Work:
    number: int
    gate: str


pipeline = Pipeline("tests.patient")


@pipeline.step
def wait(work: Work) -> Work:
    while not Path(work.gate).exists():
        time.sleep(0.05)
    return work
