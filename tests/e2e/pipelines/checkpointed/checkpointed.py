"""Three steps that record each run. The last step waits for its gate to open and fails `fail_times` times."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext


@dataclass
class Work:
    marks: str
    items: int
    fail_times: int
    gate: str = ""


@dataclass
class Item:
    marks: str
    number: int
    fail_times: int
    gate: str


@dataclass
class Total:
    count: int
    sum: int
    attempt: int


pipeline = Pipeline("tests.checkpointed", checkpoint=True)


def mark(folder: str, step: str) -> int:
    """Record a run of the step and return the number of its runs."""
    with (Path(folder) / step).open("a") as marks:
        marks.write(f"{step}\n")
    return len((Path(folder) / step).read_text().splitlines())


@pipeline.step
def split(work: Work) -> Iterator[Item]:
    mark(work.marks, "split")
    for number in range(work.items):
        yield Item(work.marks, number + 1, work.fail_times, work.gate)


@pipeline.step
def double(items: Iterable[Item]) -> Iterator[Item]:
    counted = list(items)
    for item in counted[:1]:
        mark(item.marks, "double")
    for item in counted:
        yield Item(item.marks, item.number * 2, item.fail_times, item.gate)


@pipeline.step
def add_up(items: Iterable[Item], context: StepContext) -> Total:
    numbers = []
    for item in items:
        while item.gate and not Path(item.gate).exists():
            time.sleep(0.05)
        if not numbers and mark(item.marks, "add_up") <= item.fail_times:
            raise RuntimeError("not yet")
        numbers.append(item.number)
    return Total(len(numbers), sum(numbers), context.attempt)
