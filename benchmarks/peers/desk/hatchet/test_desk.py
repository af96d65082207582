import asyncio
from decimal import Decimal
from io import BytesIO

import pytest
from desk import Order, book, desk
from hatchet_sdk import NonRetryableException


def test_an_order_is_booked(monkeypatch):
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: BytesIO(b"L-1"))
    assert book.mock_run(Order(number=1, amount=Decimal("9.90"))).text == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(NonRetryableException):
        asyncio.run(desk.aio_mock_run(Order(number=1, amount=Decimal(0))))
