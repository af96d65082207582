"""Books an order after a person has approved it."""

import os
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

from pipelines import NonRetryable, Pipeline, StepContext

pipeline = Pipeline("org.example.desk")


@dataclass
class Order:
    number: int
    amount: Decimal


@dataclass
class Approval:
    approved: bool


@pipeline.step
def check(order: Order) -> Order:
    if order.amount <= 0:
        raise NonRetryable(f"order {order.number} has no amount")
    return order


pipeline.awaits("Approve", request=Order, response=Approval, timeout=timedelta(days=2))


@pipeline.step
def book(order: Order, approval: Approval, context: StepContext) -> str:
    if not approval.approved:
        return f"order {order.number} is refused"
    headers = {"Idempotency-Key": context.idempotency_key}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return f"order {order.number} is booked as {response.read().decode()}"
