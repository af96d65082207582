import asyncio
from decimal import Decimal
from io import BytesIO

import pytest
import restate
from desk import Order, app, approve, run


def test_an_approved_order_is_booked_at_the_second_attempt(monkeypatch):
    attempts = iter([OSError("busy"), BytesIO(b"L-1")])
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: reply(next(attempts)))
    assert asyncio.run(result(Order(number=1, amount=Decimal("9.90")))) == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(restate.HttpError):
        asyncio.run(result(Order(number=1, amount=Decimal(0))))


async def result(order):
    async with restate.create_test_harness(app) as harness:
        handle = asyncio.create_task(harness.client.workflow_call(run, key="1", arg=order))
        await harness.client.workflow_call(approve, key="1", arg=True)
        return await handle


def reply(attempt):
    if isinstance(attempt, OSError):
        raise attempt
    return attempt
