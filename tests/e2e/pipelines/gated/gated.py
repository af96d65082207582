"""A step that fails for as long as its gate is shut: until a file is there."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext


@dataclass
class Work:
    number: int
    gate: str
    hopeless: bool = False


@dataclass
class Done:
    number: int
    attempt: int


pipeline = Pipeline("tests.gated")


class GateShut(Exception):
    pass


@pipeline.step
def pass_gate(work: Work, context: StepContext) -> Done:
    if not Path(work.gate).exists():
        if work.hopeless:
            raise NonRetryable("there is no way through")
        raise GateShut(f"the gate of {work.number} is shut")
    return Done(work.number, context.attempt)
