from decimal import Decimal
from io import BytesIO

import pytest
from desk import Approval, Order, desk
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(autouse=True, scope="session")
def harness():
    with prefect_test_harness():
        yield


@pytest.fixture(autouse=True)
def approved(monkeypatch):
    monkeypatch.setattr("desk.suspend_flow_run", lambda **_: Approval(approved=True))


def test_an_approved_order_is_booked_at_the_second_attempt(monkeypatch):
    attempts = iter([OSError("busy"), BytesIO(b"L-1")])
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: reply(next(attempts)))
    assert desk(Order(number=1, amount=Decimal("9.90"))) == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(ValueError, match="no amount"):
        desk(Order(number=1, amount=Decimal(0)))


def reply(attempt):
    if isinstance(attempt, OSError):
        raise attempt
    return attempt
