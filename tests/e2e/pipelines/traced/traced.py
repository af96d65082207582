"""A pipeline whose first step may fail at first, and makes a span of its own, and which then waits for a person."""

import sys
from dataclasses import dataclass
from datetime import timedelta

from pipelines import Pipeline, StepContext


@dataclass
class Order:
    number: int
    fail_times: int = 0


@dataclass
class Decision:
    accepted: bool


@dataclass
class Receipt:
    number: int
    imported: bool = False


charging = Pipeline("tests.traced")


@charging.step
def price(order: Order) -> Order:
    return Order(order.number * 2, order.fail_times)


@charging.step
def charge(order: Order, context: StepContext) -> Receipt:
    imported = "opentelemetry.sdk.trace" in sys.modules
    if imported:
        from opentelemetry import trace

        with trace.get_tracer("tests.traced").start_as_current_span("ask the bank"):
            pass
    if context.attempt < order.fail_times:
        raise RuntimeError("card-4711")
    return Receipt(order.number, imported)


approving = Pipeline("tests.approved")


@approving.step
def propose(order: Order) -> Order:
    return order


approving.awaits("Approve", request=Order, response=Decision, timeout=timedelta(minutes=5))


@approving.step
def settle(decision: Decision) -> Receipt:
    return Receipt(int(decision.accepted))
