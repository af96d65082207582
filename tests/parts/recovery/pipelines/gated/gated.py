import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext


@dataclass
class Work:
    folder: str


@dataclass
class Done:
    attempt: int


pipeline = Pipeline("tests.parts.recovery")


@pipeline.step
def pass_gate(work: Work, context: StepContext) -> Done:
    folder = Path(work.folder)
    with (folder / "started").open("a") as lines:
        lines.write("once\n")
    while not (folder / "gate").exists():
        time.sleep(0.02)
    return Done(context.attempt)
