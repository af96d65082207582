"""The gate sends nothing to a broker that refuses, and probes it after growing waits."""

import threading
import time
from collections.abc import Callable

import pytest

from coordinator import broker_gate
from coordinator.broker_gate import FIRST_BATCH, BrokerGate


class Broker:
    """Counts probes and messages, and refuses both while `down`."""

    def __init__(self) -> None:
        self.down = False
        self.probed_at: list[float] = []
        self.sent = 0

    def probe(self) -> None:
        self.probed_at.append(time.monotonic())
        if self.down:
            raise ConnectionRefusedError

    def send(self) -> None:
        self.sent += 1
        if self.down:
            raise ConnectionRefusedError


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def gate(broker: Broker) -> BrokerGate:
    """The gate of a process that just learnt that the broker is down."""
    made = BrokerGate(broker.probe)
    broker.down = True
    assert not made.send(broker.send)
    return made


def wait(times: pytest.MonkeyPatch, *, first: float, longest: float) -> None:
    times.setattr(broker_gate, "FIRST_WAIT", first)
    times.setattr(broker_gate, "LONGEST_WAIT", longest)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_nothing_is_sent_or_probed_directly_after_a_refusal(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, first=600, longest=600)
    gate = BrokerGate(broker.probe)
    broker.down = True
    assert [gate.send(broker.send) for _ in range(3)] == [False] * 3
    assert (broker.sent, broker.probed_at, gate.refused) == (1, [], True)


def test_the_waits_between_probes_grow(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, first=0.05, longest=600)
    gate = BrokerGate(broker.probe)
    broker.down = True
    gate.send(broker.send)
    until(lambda: gate.is_open() or len(broker.probed_at) == 3)
    first, second, third = broker.probed_at
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_the_waits_have_a_limit(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limit, the twentieth probe would come after days."""
    wait(monkeypatch, first=0.001, longest=0.002)
    gate = BrokerGate(broker.probe)
    broker.down = True
    gate.send(broker.send)
    until(lambda: gate.is_open() or len(broker.probed_at) == 20)


def test_one_thread_at_a_time_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, first=1.5, longest=600)
    probing, answer = threading.Event(), threading.Event()
    probes: list[str] = []

    def slow_probe() -> None:
        probes.append(threading.current_thread().name)
        probing.set()
        assert answer.wait(20)

    def refuse() -> None:
        raise ConnectionRefusedError

    gate = BrokerGate(slow_probe)
    gate.send(refuse)
    first = threading.Thread(target=lambda: until(gate.is_open), daemon=True)
    first.start()
    assert probing.wait(20)
    second = threading.Thread(target=gate.is_open, daemon=True)
    second.start()
    second.join(20)
    assert len(probes) == 1
    answer.set()
    first.join(20)
    assert not gate.refused


def test_a_probe_opens_the_gate(broker: Broker, gate: BrokerGate) -> None:
    assert gate.refused
    assert not gate.probe()
    broker.down = False
    assert gate.probe()
    assert not gate.refused
    assert gate.send(broker.send)


def test_batches_shrink_with_a_refusal_and_grow_with_what_was_sent(broker: Broker, gate: BrokerGate) -> None:
    assert gate.batch(1000) == FIRST_BATCH
    gate.sent_whole(FIRST_BATCH)
    assert gate.batch(1000) == 2 * FIRST_BATCH
    gate.sent_whole(1)
    assert gate.batch(1000) == 2 * FIRST_BATCH
    assert gate.batch(3) == 3
    broker.down = False
    gate.probe()
    broker.down = True
    gate.send(broker.send)
    assert gate.batch(1000) == FIRST_BATCH
    gate.forget()
    assert gate.batch(1000) == 1000
