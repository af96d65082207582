from decimal import Decimal
from io import BytesIO

import pytest
from desk import Approval, Order, pipeline

from pipelines import NonRetryable
from pipelines.testing import run


def test_an_approved_order_is_booked_at_the_second_attempt(monkeypatch):
    attempts = iter([OSError("busy"), BytesIO(b"L-1")])
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: reply(next(attempts)))
    result = run(pipeline, Order(1, Decimal("9.90")), answers={"Approve": Approval(True)}, retries=1)
    assert result.value == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(NonRetryable):
        run(pipeline, Order(1, Decimal(0)))


def reply(attempt):
    if isinstance(attempt, OSError):
        raise attempt
    return attempt
