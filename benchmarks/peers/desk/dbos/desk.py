"""Books an order after a person has approved it."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

from dbos import DBOS, DBOSClient, DBOSConfig

URL = os.environ.get("DBOS_SYSTEM_DATABASE_URL", "sqlite:///desk.sqlite")
VERSION = "1.0"


@dataclass
class Order:
    number: int
    amount: Decimal


@DBOS.step()
def check(order: Order) -> None:
    if order.amount <= 0:
        raise ValueError(f"order {order.number} has no amount")


@DBOS.step(retries_allowed=True)
def book(order: Order) -> str:
    headers = {"Idempotency-Key": DBOS.workflow_id}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return f"order {order.number} is booked as {response.read().decode()}"


@DBOS.workflow()
def desk(order: Order) -> str:
    check(order)
    if not DBOS.recv("approval", timeout_seconds=timedelta(days=2).total_seconds()):
        return f"order {order.number} is refused"
    return book(order)


def submit(number: str, amount: str) -> None:
    config: DBOSConfig = {"name": "desk", "application_version": VERSION, "system_database_url": URL}
    DBOS(config=config)
    DBOS.launch()
    handle = DBOS.start_workflow(desk, Order(int(number), Decimal(amount)))
    print(handle.workflow_id, flush=True)
    print(handle.get_result())


def approve(workflow_id: str) -> None:
    DBOSClient(system_database_url=URL).send(workflow_id, True, "approval")


if __name__ == "__main__":
    {"submit": submit, "approve": approve}[sys.argv[1]](*sys.argv[2:])
