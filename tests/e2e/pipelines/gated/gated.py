"""A step that fails until its gate, a file, exists."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext


@dataclass
class Work:
    number: int
    gate: str
    retryable: bool = True


@dataclass
class Done:
    number: int
    attempt: int


pipeline = Pipeline("tests.gated")


class GateClosed(Exception):
    pass


@pipeline.step
def pass_gate(work: Work, context: StepContext) -> Done:
    if not Path(work.gate).exists():
        if not work.retryable:
            raise NonRetryable("the gate stays closed")
        raise GateClosed(f"the gate of {work.number} is closed")
    return Done(work.number, context.attempt)
