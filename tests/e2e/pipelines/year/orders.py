"""A pipeline that has five releases in a year. Each has another VERSION; two of them have a fault."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext

VERSION = "1.0"
LARGE = 100


@dataclass
class Order:
    number: int
    gate: str = ""


@dataclass
class Receipt:
    number: int
    made_by: str


pipeline = Pipeline("tests.year")


@pipeline.step
def settle(order: Order, context: StepContext) -> Receipt:
    """Wait until the gate of the order exists, if it has one, and settle it."""
    while order.gate and not Path(order.gate).exists():
        time.sleep(0.05)
    if VERSION == "4.0" and order.number >= LARGE:
        raise NonRetryable("a large order overflows")
    if VERSION == "5.0" and not order.gate:
        raise RuntimeError("the price list is locked")
    return Receipt(order.number, VERSION)
