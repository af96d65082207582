"""The outbox groups and replaces reports, and loses none if the broker is unreachable."""

import threading
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from pipelines.worker.outbox import MOST_REPORTS, MOST_TRIES, Outbox, Report
from tests.cases import cases
from tests.running import eventually
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Failure, Outcome, Suspension
from wire.messages.grouping import MOST_BYTES

HERE = ReleaseIdentity("acme", "orders", "c1", "1.0")
ELSEWHERE = ReleaseIdentity("acme", "orders", "c2", "2.0")


def outcome(token: uuid.UUID | None = None, **members: Any) -> Report:
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
    return Report(identity, outcome=made)


def checkpoint(token: uuid.UUID, step: int) -> Report:
    made = Checkpoint(
        execution_id=uuid.uuid4(),
        execution_version=1,
        lease_token=token,
        transition_key="k",
        next_step_index=step,
        output_payloads=["1"],
    )
    return Report(HERE, checkpoint=made)


class Broker:
    """Receives groups. It refuses the first ones, or is unreachable for them."""

    def __init__(self, failures: int = 0) -> None:
        self.groups: list[list[Report]] = []
        self.failures = failures
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)

    def send(self, group: Sequence[Report]) -> None:
        self.entered.release()
        assert self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        self.groups.append(list(group))


def holds(items: Sequence[object], number: int) -> bool:
    return len(items) >= number


def test_the_first_report_is_sent_at_once_and_later_ones_together() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    outbox.start()
    broker.open.clear()
    first, *others = [outcome() for _ in range(5)]
    outbox.put(first)
    assert broker.entered.acquire(timeout=10)
    for report in others:
        outbox.put(report)
    broker.open.set()
    assert outbox.close(10)
    assert broker.groups == [[first], others]


def test_a_later_checkpoint_or_the_outcome_replaces_a_checkpoint() -> None:
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


def test_reports_about_different_releases_are_sent_separately() -> None:
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
    reports = [outcome() for _ in range(MOST_REPORTS + 1)]
    for report in reports:
        outbox.put(report)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [reports[:-1], reports[-1:]]


def test_reports_that_the_broker_does_not_accept_are_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(failures=1)
    outbox = Outbox(broker.send)
    report = outcome()
    outbox.put(report)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[report]]
    assert "did not accept 1 reports: OSError" in caplog.text


def test_closing_does_not_wait_forever_for_an_unreachable_broker() -> None:
    broker = Broker()
    broker.open.clear()
    outbox = Outbox(broker.send)
    outbox.put(outcome())
    outbox.start()
    assert not outbox.close(0.1)
    broker.open.set()
    outbox.join(10)
    assert not outbox.is_alive()


@cases("kind", [ValueError, SystemExit])
def test_only_a_report_that_can_never_be_sent_is_lost(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It delays no other report. No lease is held for a report that was sent or lost."""
    bad, good = outcome(identity=ELSEWHERE), outcome()
    sent: list[Report] = []
    done: list[Report] = []

    def send(group: Sequence[Report]) -> None:
        if bad in group:
            raise kind("no JSON")
        sent.extend(group)

    outbox = Outbox(send, done.extend, retry_seconds=0.01)
    outbox.put(bad)
    outbox.put(good)
    outbox.start()
    assert outbox.close(10)
    assert (sent, done) == ([good], [bad, good])
    assert "1 reports could not be sent" in caplog.text


def test_a_report_is_done_once_the_broker_has_it_and_not_before() -> None:
    """During an outage of any length, the lease is held and no report is dropped."""
    broker = Broker(failures=MOST_TRIES + 2)
    done: list[Report] = []
    before: list[int] = []

    def send(group: Sequence[Report]) -> None:
        before.append(len(done))
        broker.send(group)

    outbox = Outbox(send, done.extend, retry_seconds=0.01)
    report = outcome()
    outbox.put(report)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[report]]
    assert (before, done) == ([0] * (MOST_TRIES + 3), [report])


def test_reports_that_arrive_while_a_group_is_sent_are_sent_before_the_end() -> None:
    broker = Broker()
    broker.open.clear()
    outbox = Outbox(broker.send)
    first, last = outcome(), outcome()
    outbox.put(first)
    outbox.start()
    assert broker.entered.acquire(timeout=10)
    outbox.put(last)
    assert not outbox.close(0)
    broker.open.set()
    outbox.join(10)
    assert broker.groups == [[first], [last]]


def test_an_error_of_the_callback_does_not_end_the_outbox(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    done: list[Report] = []

    def fail_once(sent: Sequence[Report]) -> None:
        done.extend(sent)
        if len(done) == 1:
            raise SystemExit

    outbox = Outbox(broker.send, fail_once)
    outbox.start()
    reports = [outcome(), outcome()]
    for number, report in enumerate(reports, 1):
        outbox.put(report)
        eventually(partial(holds, done, number), what="the report")
    assert outbox.close(10)
    assert broker.groups == [[report] for report in reports]
    assert "The outbox failed, and continues" in caplog.text


LARGE = "x" * (MOST_BYTES // 2)


@cases("part", ["outputs", "questions", "traceback", "checkpoint"])
def test_a_message_is_bounded_in_bytes(part: str) -> None:
    """Every part that can make a report large counts."""
    broker = Broker()
    outbox = Outbox(broker.send)
    reports = [large_report(part) for _ in range(3)]
    for report in reports:
        outbox.put(report)
    outbox.start()
    assert outbox.close(10)
    assert broker.groups == [[report] for report in reports]


def large_report(part: str) -> Report:
    token = uuid.uuid4()
    if part == "checkpoint":
        made = checkpoint(token, 1).checkpoint
        assert made is not None
        return Report(HERE, checkpoint=made.model_copy(update={"output_payloads": [LARGE]}))
    failure = Failure(failure_class="E", message="m", retryable=True, traceback=LARGE)
    suspension = Suspension(
        step_index=0,
        step_id="Ask",
        itemized=False,
        gives_many=False,
        requests=[LARGE],
        request_shape="UNI",
        output_type="Order",
        transport="interaction-api",
        timeout_seconds=60.0,
    )
    changes: dict[str, dict[str, Any]] = {
        "outputs": {"output_payloads": [LARGE]},
        "questions": {"suspension": suspension},
    }
    update = changes.get(part, {"failure": failure})
    made_outcome = outcome(token).outcome
    assert made_outcome is not None
    return Report(HERE, outcome=made_outcome.model_copy(update=update))


def test_reports_that_follow_soon_share_a_message() -> None:
    """After a large group, the outbox waits a few milliseconds for further reports."""
    pause = threading.Event()
    for _ in range(20):
        broker = Broker()
        outbox = Outbox(broker.send)
        for _ in range(30):
            outbox.put(outcome())
        outbox.start()
        eventually(partial(holds, broker.groups, 1), what="the first group")
        outbox.put(outcome())
        pause.wait(0.01)
        outbox.put(outcome())
        assert outbox.close(10)
        if [len(group) for group in broker.groups] == [30, 2]:
            return
    pytest.fail("each report was sent in a separate message")
