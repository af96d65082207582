"""Reminds the customers of all unpaid invoices. Restate has no schedules."""

import json
import os
from datetime import date, timedelta
from urllib.request import Request, urlopen

import restate
from pydantic import BaseModel
from restate import Context, RunOptions, Service, TerminalError

service = Service("Nightly")
POLICY = RunOptions[str](
    max_attempts=6, initial_retry_interval=timedelta(seconds=1), max_retry_interval=timedelta(minutes=1)
)
AT_ONCE = 16


class Reminded(BaseModel):
    letters: int
    failed: dict[str, str]


def unpaid(day: date) -> list[str]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={day}") as response:
        return json.load(response)


def send(invoice: str, key: str) -> str:
    headers = {"Idempotency-Key": f"{key}:{invoice}"}
    request = Request(f"{os.environ['LEDGER_URL']}/remind/{invoice}", method="POST", headers=headers)
    with urlopen(request, timeout=30) as response:
        return response.read().decode()


@service.handler()
async def remind(ctx: Context, day: date) -> Reminded:
    reminded = Reminded(letters=0, failed={})
    invoices = await ctx.run_typed("unpaid", unpaid, day=day)
    for start in range(0, len(invoices), AT_ONCE):
        batch = invoices[start : start + AT_ONCE]
        letters = [ctx.run_typed("remind", send, POLICY, invoice=invoice, key=ctx.request().id) for invoice in batch]
        await restate.gather(*letters)
        for invoice, letter in zip(batch, letters, strict=True):
            try:
                await letter
                reminded.letters += 1
            except TerminalError as error:
                reminded.failed[invoice] = str(error)
    return reminded


app = restate.app([service])
