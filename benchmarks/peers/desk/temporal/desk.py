"""Books an order after a person has approved it."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from urllib.request import Request, urlopen

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker, WorkerDeploymentConfig


@dataclass
class Order:
    number: int
    amount: Decimal


@activity.defn
def check(order: Order) -> None:
    if order.amount <= 0:
        raise ApplicationError(f"order {order.number} has no amount", non_retryable=True)


@activity.defn
def book(order: Order) -> str:
    headers = {"Idempotency-Key": activity.info().workflow_id}
    with urlopen(Request(os.environ["LEDGER_URL"], method="POST", headers=headers)) as response:
        return f"order {order.number} is booked as {response.read().decode()}"


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class Desk:
    def __init__(self) -> None:
        self.approved: bool | None = None

    @workflow.run
    async def run(self, order: Order) -> str:
        await workflow.execute_activity(check, order, start_to_close_timeout=timedelta(seconds=10))
        await workflow.wait_condition(lambda: self.approved is not None, timeout=timedelta(days=2))
        if not self.approved:
            return f"order {order.number} is refused"
        return await workflow.execute_activity(book, order, start_to_close_timeout=timedelta(seconds=10))

    @workflow.signal
    def approve(self, approved: bool) -> None:
        self.approved = approved


async def main() -> None:
    client = await Client.connect("localhost:7233", data_converter=pydantic_data_converter)
    version = WorkerDeploymentVersion(deployment_name="desk", build_id=os.environ["BUILD_ID"])
    worker = Worker(
        client,
        task_queue="desk",
        workflows=[Desk],
        activities=[check, book],
        activity_executor=ThreadPoolExecutor(),
        deployment_config=WorkerDeploymentConfig(version=version, use_worker_versioning=True),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
