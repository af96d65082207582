"""Version 1 of a pipeline whose first attempts may fail. The first attempt waits for its gate to open."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext


@dataclass
class Order:
    number: int
    fail_times: int = 0
    gate: str = ""


@dataclass
class Receipt:
    number: int
    made_by: str


pipeline = Pipeline("tests.pinned", search={"number": "number"})


@pipeline.step
def settle(order: Order, context: StepContext) -> Receipt:
    while context.attempt == 0 and order.gate and not Path(order.gate).exists():
        time.sleep(0.05)
    if context.attempt < order.fail_times:
        raise RuntimeError(f"attempt {context.attempt} of v1 fails")
    return Receipt(order.number, f"code v1, attempt {context.attempt}")
