"""Reminds the customers of all unpaid invoices, each night."""

import json
import os
import sys
from datetime import date, datetime, timedelta
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

from hatchet_sdk import ConcurrencyExpression, ConcurrencyLimitStrategy, Context, DurableContext, Hatchet
from pydantic import BaseModel

hatchet = Hatchet()
BERLIN = ZoneInfo("Europe/Berlin")


class Night(BaseModel):
    day: date | None = None


class Invoice(BaseModel):
    number: str


class Letter(BaseModel):
    text: str


class Reminded(BaseModel):
    letters: int
    failed: dict[str, str]


@hatchet.task(input_validator=Night)
def unpaid(night: Night, ctx: Context) -> dict[str, list[str]]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={night.day}") as response:
        return {"invoices": json.load(response)}


@hatchet.task(
    input_validator=Invoice,
    retries=5,
    backoff_factor=2,
    backoff_max_seconds=60,
    execution_timeout=timedelta(seconds=30),
    concurrency=ConcurrencyExpression(
        expression="'letters'", max_runs=16, limit_strategy=ConcurrencyLimitStrategy.GROUP_ROUND_ROBIN
    ),
)
def remind(invoice: Invoice, ctx: Context) -> Letter:
    headers = {"Idempotency-Key": ctx.workflow_run_id}
    url = f"{os.environ['LEDGER_URL']}/remind/{invoice.number}"
    with urlopen(Request(url, method="POST", headers=headers)) as response:
        return Letter(text=response.read().decode())


@hatchet.durable_task(input_validator=Night, on_crons=["30 1 * * *"], execution_timeout=timedelta(hours=4))
async def nightly(night: Night, ctx: DurableContext) -> Reminded:
    day = night.day or datetime.now(BERLIN).date()
    invoices = (await unpaid.aio_run(Night(day=day)))["invoices"]
    runs = [remind.create_bulk_run_item(Invoice(number=invoice)) for invoice in invoices]
    reminded = Reminded(letters=0, failed={})
    for invoice, letter in zip(invoices, await remind.aio_run_many(runs, return_exceptions=True), strict=True):
        if isinstance(letter, BaseException):
            reminded.failed[invoice] = str(letter)
        else:
            reminded.letters += 1
    return reminded


if __name__ == "__main__":
    if sys.argv[1:]:
        print(nightly.run(Night(day=date.fromisoformat(sys.argv[1]))))
    else:
        hatchet.worker("nightly", workflows=[nightly, unpaid, remind]).start()
