"""Reminds the customers of all unpaid invoices, each night."""

import json
import os
import sys
import threading
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

from dbos import DBOS, DBOSConfig, ScheduleInput

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass
class Reminded:
    letters: int
    failed: dict[str, str]


@DBOS.step()
def unpaid(day: date) -> list[str]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={day}") as response:
        return json.load(response)


@DBOS.step(retries_allowed=True, max_attempts=6)
def send(invoice: str) -> str:
    headers = {"Idempotency-Key": DBOS.workflow_id}
    request = Request(f"{os.environ['LEDGER_URL']}/remind/{invoice}", method="POST", headers=headers)
    with urlopen(request, timeout=30) as response:
        return response.read().decode()


@DBOS.workflow()
def remind(invoice: str) -> str:
    return send(invoice)


@DBOS.workflow()
def nightly(day: date) -> Reminded:
    reminded = Reminded(0, {})
    handles = [(invoice, DBOS.enqueue_workflow("letters", remind, invoice)) for invoice in unpaid(day)]
    for invoice, handle in handles:
        try:
            handle.get_result()
            reminded.letters += 1
        except Exception as error:
            reminded.failed[invoice] = str(error)
    return reminded


@DBOS.workflow()
def each_night(scheduled: datetime, _: Any) -> None:
    nightly(scheduled.astimezone(BERLIN).date())


if __name__ == "__main__":
    config: DBOSConfig = {"name": "nightly"}
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue("letters", global_concurrency=16)
    if sys.argv[1:]:
        print(nightly(date.fromisoformat(sys.argv[1])))
    else:
        schedule: ScheduleInput = {"schedule_name": "nightly", "workflow_fn": each_night, "schedule": "30 2 * * *"}
        DBOS.apply_schedules([{**schedule, "context": None, "cron_timezone": BERLIN.key}])
        threading.Event().wait()
