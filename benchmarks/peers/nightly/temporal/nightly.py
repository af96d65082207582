"""Reminds the customers of all unpaid invoices, each night."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError
from temporalio.worker import Worker

LIMIT = timedelta(seconds=30)
POLICY = RetryPolicy(maximum_attempts=6, initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))


@dataclass
class Reminded:
    letters: int
    failed: dict[str, str]


@activity.defn
def unpaid(day: date) -> list[str]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={day}") as response:
        return json.load(response)


@activity.defn
def remind(invoice: str) -> str:
    headers = {"Idempotency-Key": f"{activity.info().workflow_run_id}:{invoice}"}
    with urlopen(Request(f"{os.environ['LEDGER_URL']}/remind/{invoice}", method="POST", headers=headers)) as response:
        return response.read().decode()


@workflow.defn
class Nightly:
    @workflow.run
    async def run(self, day: date | None = None) -> Reminded:
        self.reminded, self.places = Reminded(0, {}), asyncio.Semaphore(16)
        tonight = day or workflow.now().astimezone(ZoneInfo("Europe/Berlin")).date()
        invoices = await workflow.execute_activity(unpaid, tonight, start_to_close_timeout=LIMIT)
        await asyncio.gather(*map(self.remind, invoices))
        return self.reminded

    async def remind(self, invoice: str) -> None:
        async with self.places:
            try:
                await workflow.execute_activity(remind, invoice, start_to_close_timeout=LIMIT, retry_policy=POLICY)
                self.reminded.letters += 1
            except ActivityError as error:
                self.reminded.failed[invoice] = str(error.cause)


async def main() -> None:
    client = await Client.connect("localhost:7233", data_converter=pydantic_data_converter)
    threads = ThreadPoolExecutor(16)
    await Worker(
        client, task_queue="nightly", workflows=[Nightly], activities=[unpaid, remind], activity_executor=threads
    ).run()


if __name__ == "__main__":
    asyncio.run(main())
