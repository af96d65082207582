"""Reminds the customers of all unpaid invoices, each night."""

import json
import os
import sys
from datetime import date, datetime
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

from prefect import flow, task, unmapped
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

BERLIN = ZoneInfo("Europe/Berlin")


class Reminded(BaseModel):
    letters: int
    failed: dict[str, str]


@task
def unpaid(day: date) -> list[str]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={day}") as response:
        return json.load(response)


@task(retries=5, retry_delay_seconds=exponential_backoff(1), timeout_seconds=30, persist_result=True)
def remind(invoice: str, key: str) -> str:
    headers = {"Idempotency-Key": f"{key}:{invoice}"}
    with urlopen(Request(f"{os.environ['LEDGER_URL']}/remind/{invoice}", method="POST", headers=headers)) as response:
        return response.read().decode()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=16), persist_result=True)
def nightly(day: date | None = None) -> Reminded:
    invoices = unpaid(day or datetime.now(BERLIN).date())
    reminded = Reminded(letters=0, failed={})
    for invoice, letter in zip(invoices, remind.map(invoices, unmapped(flow_run.id)), strict=True):
        try:
            letter.result()
            reminded.letters += 1
        except Exception as error:
            reminded.failed[invoice] = str(error)
    return reminded


if __name__ == "__main__":
    if sys.argv[1:]:
        print(nightly(date.fromisoformat(sys.argv[1])))
    else:
        nightly.serve(schedules=[Cron("30 2 * * *", timezone=BERLIN.key)])
