import asyncio
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from io import BytesIO

import pytest
from desk import Desk, Order, book, check
from temporalio.client import WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker


def test_an_approved_order_is_booked_at_the_second_attempt(monkeypatch):
    attempts = iter([OSError("busy"), BytesIO(b"L-1")])
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: reply(next(attempts)))
    assert asyncio.run(result(Order(1, Decimal("9.90")))) == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(WorkflowFailureError):
        asyncio.run(result(Order(1, Decimal(0))))


async def result(order):
    async with await WorkflowEnvironment.start_time_skipping(data_converter=pydantic_data_converter) as env:
        pool = ThreadPoolExecutor()
        activities = [check, book]
        async with Worker(
            env.client, task_queue="desk", workflows=[Desk], activities=activities, activity_executor=pool
        ):
            handle = await env.client.start_workflow(Desk.run, order, id="order", task_queue="desk")
            await handle.signal(Desk.approve, True)
            return await handle.result()


def reply(attempt):
    if isinstance(attempt, OSError):
        raise attempt
    return attempt
