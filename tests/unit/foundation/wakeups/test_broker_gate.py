"""After a refusal, the broker gate sends nothing until a probe succeeds. The interval between probes grows."""

import pytest

from foundation.wakeups.broker_gate import FIRST_BATCH, FIRST_WAIT, LONGEST_WAIT, BrokerGate
from tests.clock import Clock


class Broker:
    """A broker that refuses everything while `error` is set. Counts probes and messages."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.probes = self.messages = 0

    def probe(self) -> None:
        self.probes += 1
        self._accept()

    def message(self) -> None:
        self.messages += 1
        self._accept()

    def _accept(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(monkeypatch)
    made.stop()
    return made


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def gate(broker: Broker, clock: Clock) -> BrokerGate:
    return BrokerGate(broker.probe)


def refuse(broker: Broker, gate: BrokerGate, error: Exception | None = None) -> None:
    broker.error = error or OSError("refused")
    assert not gate.send(broker.message)


def test_the_intervals_between_probes_grow_until_one_succeeds(broker: Broker, gate: BrokerGate, clock: Clock) -> None:
    refuse(broker, gate)
    wait = FIRST_WAIT
    for number in range(8):
        clock.ahead += wait - 0.001
        assert not gate.is_open()
        assert broker.probes == number
        clock.ahead += 0.002
        assert not gate.is_open()
        assert broker.probes == number + 1
        wait = min(2 * wait, LONGEST_WAIT)
    assert wait == LONGEST_WAIT
    broker.error = None
    clock.ahead += LONGEST_WAIT
    assert [gate.send(broker.message) for _ in range(2)] == [True, True]
    assert (broker.messages, broker.probes, gate.refused) == (3, 9, False)
    refuse(broker, gate)
    broker.error = None
    clock.ahead += FIRST_WAIT
    assert gate.is_open(), "the next outage begins with the shortest wait"
    assert gate.batch(500) == FIRST_BATCH
    gate.batch_sent(FIRST_BATCH)
    gate.batch_sent(1)
    assert gate.batch(500) == 2 * FIRST_BATCH
