"""Version 1 of a pipeline whose first attempt always fails, so that there is a time between attempts."""

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
def settle(order: Order, context: StepContext) -> Receipt:
    if context.attempt < order.fail_times:
        raise RuntimeError(f"attempt {context.attempt} of v1 fails")
    return Receipt(order.number, f"code v1, attempt {context.attempt}")
