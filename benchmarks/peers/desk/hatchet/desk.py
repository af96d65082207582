"""Books an order after a person has approved it."""

import os
import sys
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

from hatchet_sdk import Context, DurableContext, Hatchet, NonRetryableException
from pydantic import BaseModel

hatchet = Hatchet()
VERSION = "1"


class Order(BaseModel):
    number: int
    amount: Decimal


class Approval(BaseModel):
    number: int
    approved: bool


class Receipt(BaseModel):
    text: str


@hatchet.task(name=f"book-{VERSION}", input_validator=Order, retries=5)
def book(order: Order, ctx: Context) -> Receipt:
    headers = {"Idempotency-Key": ctx.workflow_run_id}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return Receipt(text=f"order {order.number} is booked as {response.read().decode()}")


@hatchet.durable_task(name=f"desk-{VERSION}", input_validator=Order, execution_timeout=timedelta(days=2))
async def desk(order: Order, ctx: DurableContext) -> Receipt:
    if order.amount <= 0:
        raise NonRetryableException(f"order {order.number} has no amount")
    only_this = f"input.number == {order.number}"
    approval = await ctx.aio_wait_for_event("desk:approval", only_this, payload_validator=Approval)
    if not approval.approved:
        return Receipt(text=f"order {order.number} is refused")
    return await book.aio_run(order)


def submit(number: str, amount: str) -> None:
    print(desk.run(Order(number=int(number), amount=Decimal(amount))).text)


def approve(number: str) -> None:
    hatchet.event.push("desk:approval", {"number": int(number), "approved": True})


def work() -> None:
    hatchet.worker("desk", workflows=[desk, book]).start()


if __name__ == "__main__":
    {"submit": submit, "approve": approve, "work": work}[sys.argv[1]](*sys.argv[2:])
