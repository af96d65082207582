"""What goes out together, what is overtaken, and that nothing is lost to a broker that is away."""

import threading
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from executions.protocol import Checkpoint, Failure, Outcome
from pipelines.outbox import MOST_ANSWERS, Answer, Outbox
from releases.identity import ReleaseIdentity

HERE = ReleaseIdentity("acme", "orders", "c1", "1.0")
ELSEWHERE = ReleaseIdentity("acme", "orders", "c2", "2.0")


def outcome(token: uuid.UUID | None = None, **members: Any) -> Answer:
    identity = members.pop("identity", HERE)
    made = Outcome(
        execution_id=uuid.uuid4(),
        execution_version=1,
        lease_token=token or uuid.uuid4(),
        transition_key="k",
        outcome="FAILED",
        failure=Failure(failure_class="E", message="m", retryable=True),
        **members,
    )
    return Answer(identity, outcome=made)


def checkpoint(token: uuid.UUID, step: int) -> Answer:
    made = Checkpoint(
        execution_id=uuid.uuid4(),
        execution_version=1,
        lease_token=token,
        transition_key="k",
        next_step_index=step,
        output_payloads=["1"],
    )
    return Answer(HERE, checkpoint=made)


class Broker:
    """Takes groups; the first ones may find it closed, or away."""

    def __init__(self, failures: int = 0) -> None:
        self.groups: list[list[Answer]] = []
        self.failures = failures
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)

    def send(self, group: Sequence[Answer]) -> None:
        self.entered.release()
        assert self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        self.groups.append(list(group))


def test_the_first_answer_goes_at_once_and_those_that_come_meanwhile_together() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    outbox.start()
    broker.open.clear()
    first, *others = [outcome() for _ in range(5)]
    outbox.put(first)
    assert broker.entered.acquire(timeout=10)
    for answer in others:
        outbox.put(answer)
    broker.open.set()
    assert outbox.close(10)
    assert broker.groups == [[first], others]


def test_a_checkpoint_is_overtaken_by_a_later_one_and_by_the_outcome() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    running, over = uuid.uuid4(), uuid.uuid4()
    outbox.put(checkpoint(running, 1))
    outbox.put(checkpoint(over, 1))
    newest = checkpoint(running, 2)
    outbox.put(newest)
    ended = outcome(over)
    outbox.put(ended)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[newest, ended]]


def test_answers_about_different_releases_travel_apart() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    ours, theirs = outcome(), outcome(identity=ELSEWHERE)
    outbox.put(ours)
    outbox.put(theirs)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[ours], [theirs]]


def test_a_message_is_bounded() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    answers = [outcome() for _ in range(MOST_ANSWERS + 1)]
    for answer in answers:
        outbox.put(answer)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [answers[:-1], answers[-1:]]


def test_what_the_broker_does_not_take_is_offered_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(failures=1)
    outbox = Outbox(broker.send)
    answer = outcome()
    outbox.put(answer)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[answer]]
    assert "did not take 1 answers: OSError" in caplog.text


def test_closing_does_not_wait_for_ever_for_a_broker_that_is_away() -> None:
    broker = Broker()
    broker.open.clear()
    outbox = Outbox(broker.send)
    outbox.put(outcome())
    outbox.start()
    assert not outbox.close(0.1)
    broker.open.set()
    outbox.join(10)
    assert not outbox.is_alive()


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_what_can_never_be_sent_is_lost_alone(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """It holds up no other, and what was sent or lost is done with: no lease is held for it."""
    bad, good = outcome(identity=ELSEWHERE), outcome()
    sent: list[Answer] = []
    done: list[Answer] = []

    def send(group: Sequence[Answer]) -> None:
        if bad in group:
            raise kind("no JSON")
        sent.extend(group)

    outbox = Outbox(send, done.extend, again_after=0.01)
    outbox.put(bad)
    outbox.put(good)
    outbox.start()
    assert outbox.close(10)
    assert (sent, done) == ([good], [bad, good])
    assert "1 answers could not be sent" in caplog.text
