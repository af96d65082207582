from decimal import Decimal
from io import BytesIO

import pytest
from dbos import DBOS
from desk import Order, desk


@pytest.fixture(autouse=True)
def launched(tmp_path):
    DBOS.destroy()
    DBOS(config={"name": "desk", "system_database_url": f"sqlite:///{tmp_path}/desk.sqlite"})
    DBOS.reset_system_database(truncate=True)
    DBOS.launch()
    yield
    DBOS.destroy()


def test_an_approved_order_is_booked_at_the_second_attempt(monkeypatch):
    attempts = iter([OSError("busy"), BytesIO(b"L-1")])
    monkeypatch.setenv("LEDGER_URL", "http://ledger.example")
    monkeypatch.setattr("desk.urlopen", lambda _: reply(next(attempts)))
    handle = DBOS.start_workflow(desk, Order(1, Decimal("9.90")))
    DBOS.send(handle.workflow_id, True, "approval")
    assert handle.get_result() == "order 1 is booked as L-1"


def test_an_order_without_an_amount_is_refused():
    with pytest.raises(ValueError, match="no amount"):
        desk(Order(1, Decimal(0)))


def reply(attempt):
    if isinstance(attempt, OSError):
        raise attempt
    return attempt
