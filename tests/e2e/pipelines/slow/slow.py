"""A step that takes its time and leaves a mark each time it starts."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline


@dataclass
class Work:
    marks: str
    seconds: float


pipeline = Pipeline("tests.slow")


@pipeline.step
def take_time(work: Work) -> Work:
    with Path(work.marks).open("a") as marks:
        marks.write("started\n")
    time.sleep(work.seconds)
    return work
