"""A step that records each start and then sleeps."""

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
def sleep(work: Work) -> Work:
    with Path(work.marks).open("a") as marks:
        marks.write("started\n")
    time.sleep(work.seconds)
    return work
