"""Books an order after a person has approved it."""

import os
import sys
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

from prefect import flow, task
from prefect.flow_runs import resume_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import BaseModel

VERSION = "1"


class Order(BaseModel):
    number: int
    amount: Decimal


class Approval(RunInput):
    approved: bool


@task
def check(order: Order) -> None:
    if order.amount <= 0:
        raise ValueError(f"order {order.number} has no amount")


@task(retries=5, retry_delay_seconds=1)
def book(order: Order) -> str:
    headers = {"Idempotency-Key": str(flow_run.id)}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return f"order {order.number} is booked as {response.read().decode()}"


@flow(persist_result=True, log_prints=True)
def desk(order: Order) -> str:
    check(order)
    approval = suspend_flow_run(wait_for_input=Approval, timeout=int(timedelta(days=2).total_seconds()))
    receipt = book(order) if approval.approved else f"order {order.number} is refused"
    print(receipt)
    return receipt


def serve() -> None:
    desk.serve(name=VERSION)


def approve(flow_run_id: str) -> None:
    resume_flow_run(flow_run_id, run_input={"approved": True})


if __name__ == "__main__":
    {"serve": serve, "approve": approve}[sys.argv[1]](*sys.argv[2:])
