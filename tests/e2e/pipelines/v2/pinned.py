"""Version 2 of the pipeline. It has an additional first step, and therefore another contract."""

from dataclasses import dataclass

from pipelines import Pipeline, StepContext


@dataclass
class Order:
    number: int
    fail_times: int = 0


@dataclass
class Receipt:
    number: int
    made_by: str


pipeline = Pipeline("tests.pinned")


@pipeline.step
def check(order: Order) -> Order:
    return order


@pipeline.step
def settle(order: Order, context: StepContext) -> Receipt:
    if context.attempt < order.fail_times:
        raise RuntimeError(f"attempt {context.attempt} of v2 fails")
    return Receipt(order.number, f"code v2, attempt {context.attempt}")
