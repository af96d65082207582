"""The outbox groups and replaces reports, and loses none if the broker is unreachable."""

import threading
import uuid
from collections.abc import Sequence
from typing import Any

from pipelines.worker.outbox import MOST_REPORTS, MOST_TRIES, Outbox, Report
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Failure, Outcome, Suspension
from wire.messages.grouping import MOST_BYTES

HERE = ReleaseIdentity("acme", "orders", "c1", "1.0")
ELSEWHERE = ReleaseIdentity("acme", "orders", "c2", "2.0")
LARGE = "x" * (MOST_BYTES // 2)


def outcome(
    token: uuid.UUID | None = None, identity: ReleaseIdentity = HERE, output: str = "", asked: str = "", why: str = ""
) -> Report:
    ids = {"execution_id": uuid.uuid4(), "lease_token": token or uuid.uuid4(), "execution_version": 1}
    waits: dict[str, Any] = {"step_index": 0, "step_id": "Ask", "itemized": False, "gives_many": False}
    waits |= {"request_shape": "UNI", "output_type": "Order", "transport": "interaction-api", "timeout_seconds": 60.0}
    suspension = Suspension(requests=[asked], **waits) if asked else None
    failure = Failure(failure_class="E", message="m", retryable=True, traceback=why)
    members: dict[str, Any] = {**ids, "transition_key": "k", "outcome": "FAILED", "output_payloads": [output]}
    return Report(identity, outcome=Outcome(**members, suspension=suspension, failure=failure))


def checkpoint(token: uuid.UUID | None = None, step: int = 1, output: str = "1") -> Report:
    made = Checkpoint(
        execution_id=uuid.uuid4(),
        execution_version=1,
        lease_token=token or uuid.uuid4(),
        transition_key="k",
        next_step_index=step,
        output_payloads=[output],
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


def empty(outbox: Outbox, *reports: Report) -> None:
    """Let the outbox send reports that it gets before it starts, and end."""
    for report in reports:
        outbox.put(report)
    outbox.start()
    assert outbox.close(10)


def sent(*reports: Report) -> list[list[Report]]:
    """Return the groups in which an outbox sends the reports."""
    broker = Broker()
    empty(Outbox(broker.send), *reports)
    return broker.groups


def test_reports_that_arrive_while_a_group_is_sent_are_sent_together_before_the_end() -> None:
    broker = Broker()
    outbox = Outbox(broker.send)
    outbox.start()
    broker.open.clear()
    first, *others = [outcome() for _ in range(5)]
    outbox.put(first)
    assert broker.entered.acquire(timeout=10)
    for report in others:
        outbox.put(report)
    assert not outbox.close(0.1), "it does not wait forever for an unreachable broker"
    broker.open.set()
    outbox.join(10)
    assert not outbox.is_alive()
    assert broker.groups == [[first], others]


def test_a_later_checkpoint_or_the_outcome_replaces_a_checkpoint() -> None:
    running, over = uuid.uuid4(), uuid.uuid4()
    newest, ended = checkpoint(running, 2), outcome(over)
    assert sent(checkpoint(running, 1), checkpoint(over, 1), newest, ended) == [[newest, ended]]


def test_reports_about_different_releases_are_sent_separately_and_a_message_is_bounded() -> None:
    ours, theirs = outcome(), outcome(identity=ELSEWHERE)
    assert sent(ours, theirs) == [[ours], [theirs]]
    reports = [outcome() for _ in range(MOST_REPORTS + 1)]
    assert sent(*reports) == [reports[:-1], reports[-1:]]


def test_a_message_is_bounded_in_bytes() -> None:
    """Every part that can make a report large counts."""
    members: list[dict[str, Any]] = [{"output": LARGE}, {"asked": LARGE}, {"why": LARGE}]
    for each in members:
        reports = [outcome(**each) for _ in range(3)]
        assert sent(*reports) == [[report] for report in reports]
    reports = [checkpoint(output=LARGE) for _ in range(3)]
    assert sent(*reports) == [[report] for report in reports]


def test_only_a_report_that_can_never_be_sent_is_lost() -> None:
    """It delays no other report. No lease is held for a report that was sent or lost."""
    bad, good = outcome(identity=ELSEWHERE), outcome()
    delivered: list[Report] = []
    done: list[Report] = []

    def send(group: Sequence[Report]) -> None:
        if bad in group:
            raise ValueError("no JSON")
        delivered.extend(group)

    empty(Outbox(send, done.extend, retry_seconds=0.01), bad, good)
    assert (delivered, done) == ([good], [bad, good])


def test_a_report_is_done_once_the_broker_has_it_and_not_before() -> None:
    """During an outage of any length, the lease is held and no report is dropped."""
    broker = Broker(failures=MOST_TRIES + 2)
    done: list[Report] = []
    before: list[int] = []

    def send(group: Sequence[Report]) -> None:
        before.append(len(done))
        broker.send(group)

    report = outcome()
    empty(Outbox(send, done.extend, retry_seconds=0.01), report)
    assert broker.groups == [[report]]
    assert (before, done) == ([0] * (MOST_TRIES + 3), [report])
