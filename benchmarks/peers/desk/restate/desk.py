"""Books an order after a person has approved it."""

import os
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

import restate
from pydantic import BaseModel
from restate import TerminalError, Workflow, WorkflowContext, WorkflowSharedContext

desk = Workflow("Desk")


class Order(BaseModel):
    number: int
    amount: Decimal


def check(order: Order) -> None:
    if order.amount <= 0:
        raise TerminalError(f"order {order.number} has no amount")


def book(order: Order, key: str) -> str:
    headers = {"Idempotency-Key": key}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return f"order {order.number} is booked as {response.read().decode()}"


@desk.main()
async def run(ctx: WorkflowContext, order: Order) -> str:
    check(order)
    match await restate.select(
        approved=ctx.promise("approved", type_hint=bool).value(), late=ctx.sleep(timedelta(days=2))
    ):
        case ["approved", True]:
            return await ctx.run_typed("book", book, order=order, key=ctx.key())
    return f"order {order.number} is refused"


@desk.handler()
async def approve(ctx: WorkflowSharedContext, approved: bool) -> None:
    await ctx.promise("approved", type_hint=bool).resolve(approved)


app = restate.app([desk])
