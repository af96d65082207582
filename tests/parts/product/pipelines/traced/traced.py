from dataclasses import dataclass

from opentelemetry import trace

from pipelines import Pipeline


@dataclass
class Order:
    number: int


charging = Pipeline("tests.traced")


@charging.step
def price(order: Order) -> Order:
    return order


@charging.step
def charge(order: Order) -> Order:
    with trace.get_tracer("tests.traced").start_as_current_span("ask the bank"):
        pass
    return order
