"""Pipelines that wait for people, other systems, many responses, or a timer."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from pipelines import NonRetryable, Pipeline

WEBHOOK = "http://127.0.0.1:1/"


@dataclass
class Order:
    number: int


@dataclass
class Decision:
    accepted: bool
    note: str = ""


@dataclass
class Receipt:
    text: str


approval = Pipeline("tests.approval")


@approval.step
def price(order: Order) -> Order:
    return Order(order.number * 2)


approval.awaits(
    "Approve", request=Order, response=Decision, timeout=timedelta(minutes=5), assignee="eva", group="finance"
)


@approval.step
def settle(decision: Decision) -> Receipt:
    if not decision.accepted:
        raise NonRetryable(f"rejected: {decision.note}")
    return Receipt(f"settled: {decision.note}")


hasty = Pipeline("tests.hasty")
hasty.awaits("Hurry", request=Order, response=Decision, timeout=timedelta(seconds=1))


booking = Pipeline("tests.booking")
booking.awaits(
    "Book",
    request=Order,
    response=Receipt,
    timeout=timedelta(minutes=5),
    transport="webhook",
    url=WEBHOOK,
)


@booking.step
def file(receipt: Receipt) -> Receipt:
    return Receipt(f"filed {receipt.text}")


cooling = Pipeline("tests.cooling")


@cooling.step
def several(order: Order) -> Iterator[Order]:
    yield from (Order(number) for number in range(order.number))


cooling.timer("Cool off", timedelta(seconds=1))


@cooling.step
def warm(order: Order) -> Receipt:
    return Receipt(f"warm {order.number}")
