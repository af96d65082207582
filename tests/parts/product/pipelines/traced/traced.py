"""A pipeline whose second step makes a span of its own, and may fail at first."""

from dataclasses import dataclass

from opentelemetry import trace

from pipelines import Pipeline, StepContext


@dataclass
class Order:
    number: int
    fail_times: int = 0


charging = Pipeline("tests.traced")


@charging.step
def price(order: Order) -> Order:
    return order


@charging.step
def charge(order: Order, context: StepContext) -> Order:
    with trace.get_tracer("tests.traced").start_as_current_span("ask the bank"):
        pass
    if context.attempt < order.fail_times:
        raise RuntimeError("card-4711")
    return order
