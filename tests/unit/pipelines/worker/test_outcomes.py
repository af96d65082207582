import functools
import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import pytest

from pipelines import Pipeline, StepContext
from pipelines.worker import outcomes as limits_of_outcomes
from pipelines.worker.host import Host
from pipelines.worker.item_steps import FinishedItems
from pipelines.worker.outcomes import (
    MOST_REPORTS,
    MOST_TRIES,
    PAUSE_PER_REPORT,
    Outbox,
    Reached,
    Report,
    item_group,
    outcome_of,
    reached,
)
from pipelines.worker.run_results import Completed
from pipelines.worker.runner import run
from tests.building import eventually
from tests.cases import cases
from tests.unit.pipelines.worker.conftest import command, outcomes, released, sealed
from wire.documents.json_reader import DEEPEST, MOST_VALUES, all_storable
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Failure, Outcome, Suspension
from wire.messages.task_messages import MOST_BYTES

limited = Pipeline("tests.limits")
HERE = ReleaseIdentity("acme", "orders", "c1", "1.0")
ELSEWHERE = ReleaseIdentity("acme", "orders", "c2", "2.0")
LARGE = "x" * (MOST_BYTES // 2)


@dataclass
class Size:
    values: int
    levels: int = 3


@dataclass
class Box:
    inside: Any


@limited.step
def fill_box(size: Size) -> Box:
    deep = functools.reduce(lambda inner, _: [inner], range(size.levels - 3), list[Any]())
    return Box([deep, *[0] * (size.values - size.levels)])


STEPS = """
from collections.abc import Iterable, Iterator
from datetime import timedelta

from pipelines import Pipeline

pipeline = Pipeline("tests.progress", checkpoint=True)

@pipeline.step
def count(number: int) -> Iterator[int]:
    yield from range(number)

@pipeline.step
def double(number: int) -> int:
    return number * 2

@pipeline.step
def add_up(numbers: Iterable[int]) -> int:
    found = sum(numbers)
    if found == 12:
        raise RuntimeError("twelve fails")
    return found

pipeline.awaits("check", request=int, response=str, timeout=timedelta(hours=1))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with released(tmp_path_factory.mktemp("progress"), STEPS) as made:
        yield made.host()


def ran(host: Host, start: int, stop: int, payload: Any, shape: str = "UNI") -> Outcome:
    members = {"current_step_index": start, "stop_before_step_index": stop, "shape": shape}
    [outcome] = outcomes(host, command(payload=json.dumps(payload), **members))
    return outcome


def test_a_stop_returns_the_input_of_the_next_step(host: Host) -> None:
    rows: list[tuple[int, int, Any, list[str]]] = [
        (0, 1, 3, ["0", "1", "2"]),
        # If no step runs, the input is echoed.
        (1, 1, 5, ["5"]),
        # A transition that reaches the end has no stop, even if the command names the end.
        (4, -1, "yes", ['"yes"']),
        (4, 4, "yes", ['"yes"']),
    ]
    for start, stop, payload, outputs in rows:
        outcome = ran(host, start, stop, payload)
        assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", outputs)
        assert outcome.stopped_before_step_index == (stop if stop < 4 else -1)
    outcome = ran(host, 3, 4, 6)
    assert outcome.suspension is not None
    assert (outcome.outcome, outcome.stopped_before_step_index) == ("WAITING_EXTERNAL", -1)
    assert (outcome.suspension.step_index, outcome.suspension.requests) == (3, ["6"])


def test_checkpoints_are_reported_at_once_if_they_are_requested(host: Host) -> None:
    """The checkpoint message may be lost or may arrive after the failure message. So the failure repeats the newest."""
    last = (2, ["0", "2", "4", "6"])
    for checkpoints, reports in ((True, [(1, ["0", "1", "2", "3"]), last, last]), (False, [None])):
        answers: list[Report] = []
        sent = command(payload="4", checkpoints=checkpoints, stop_before_step_index=3)
        host.execute(sealed(host, sent), answers.append)
        *before, failed = answers
        assert all(report.outcome is None for report in before)
        assert failed.outcome is not None
        assert failed.outcome.outcome == "FAILED"
        held = [report.reached for report in answers]
        assert [outcome and (outcome.next_step_index, outcome.output_payloads) for outcome in held] == reports


def test_a_suspension_says_whether_the_responses_are_a_stream(context: StepContext) -> None:
    rows: list[tuple[Any, Any, Any, bool, bool]] = [
        (int, list[int], 1, False, True),
        (int, int, [1], True, True),
        (list[int], int, [1, 2], False, False),
    ]
    for request, response, payload, itemized, gives_many in rows:
        pipeline = Pipeline("tests.awaiting")
        pipeline.awaits("Ask", request=request, response=response, timeout=timedelta(hours=1))
        shape: Literal["UNI", "MULTI"] = "MULTI" if isinstance(payload, list) else "UNI"
        result = run(pipeline, payload, start=0, stop=-1, context=lambda: context, shape=shape)
        suspension = outcome_of(command(), result, steps=1).suspension
        assert suspension is not None
        assert (suspension.itemized, suspension.gives_many) == (itemized, gives_many)


@cases(
    ("result", "fits"),
    [
        (Completed(["x" * 9_000], many=False), True),
        (Completed(["x" * 10_000], many=False), False),
        # In the message, each payload is a string in JSON, which doubles the backslashes before its quotes.
        (Completed(['"' * 3_400], many=False), False),
        (Completed([0] * 20, many=True), True),
        (Completed([0] * 21, many=True), False),
    ],
)
def test_a_result_that_is_too_large_for_a_message_is_a_failure_and_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch, result: Completed, fits: bool
) -> None:
    monkeypatch.setattr(limits_of_outcomes, "LONGEST_OUTCOME", 10_000)
    monkeypatch.setattr(limits_of_outcomes, "CERTAINLY_FITTING", 5_000)
    monkeypatch.setattr(limits_of_outcomes, "MOST_PAYLOADS", 20)
    outcome = outcome_of(command(), result, steps=1)
    checkpoint = reached(command(), 1, result.outputs, many=result.many)
    assert (checkpoint is not None) is fits
    if fits:
        assert [json.loads(payload) for payload in outcome.output_payloads] == result.outputs
    else:
        assert outcome.failure is not None
        assert (outcome.failure.failure_class, outcome.failure.retryable) == ("OUTPUT_TOO_LARGE", False)


LARGEST = [{"values": MOST_VALUES - 1}, {"values": 300, "levels": DEEPEST}]
TOO_LARGE, TOO_DEEP = {"values": MOST_VALUES + 1}, {"values": 300, "levels": DEEPEST + 1}


@cases(
    ("size", "failure"),
    [*((size, None) for size in LARGEST), (TOO_LARGE, "OUTPUT_TOO_LARGE"), (TOO_DEEP, "INVALID_STEP_OUTPUT")],
)
def test_a_worker_reports_what_the_coordinator_stores_and_names_the_step_otherwise(
    context: StepContext, size: dict[str, int], failure: str | None
) -> None:
    outcome = outcome_of(command(), run(limited, size, start=0, stop=-1, context=lambda: context), steps=1)
    assert (outcome.failure and outcome.failure.failure_class) == failure
    if outcome.failure is not None:
        assert outcome.failure.message.startswith('step "Fill box": ')
        assert reached(command(), 1, [fill_box(Size(**size)).__dict__], many=False) is None or "levels" in size
    else:
        assert len(all_storable(outcome.output_payloads)) == 1


def ids_of(token: uuid.UUID | None) -> dict[str, Any]:
    made = token or uuid.uuid4()
    return {"execution_id": uuid.uuid4(), "lease_token": made, "execution_version": 1, "transition_key": "k"}


def outcome(
    token: uuid.UUID | None = None, identity: ReleaseIdentity = HERE, output: str = "", asked: str = "", why: str = ""
) -> Report:
    waits: dict[str, Any] = {"step_index": 0, "step_id": "Ask", "itemized": False, "gives_many": False}
    waits |= {"request_shape": "UNI", "output_type": "Order", "transport": "interaction-api", "timeout_seconds": 60.0}
    suspension = Suspension(requests=[asked], **waits) if asked else None
    failure = Failure(failure_class="E", message="m", retryable=True, traceback=why)
    members = {**ids_of(token), "outcome": "FAILED", "output_payloads": [output]}
    return Report(identity, outcome=Outcome(**members, suspension=suspension, failure=failure))


def checkpoint(token: uuid.UUID | None = None, step: int = 1, output: str = "1") -> Report:
    return Report(HERE, reached=Reached(command(**ids_of(token)), step, [output]))


def empty(outbox: Outbox, *reports: Report) -> None:
    """Let the outbox send reports that it gets before it starts, and end."""
    for report in reports:
        outbox.put(report)
    outbox.start()
    assert outbox.close(10)


def sent(*reports: Report) -> list[list[Report]]:
    groups: list[list[Report]] = []
    empty(Outbox(lambda group: groups.append(list(group))), *reports)
    return groups


def test_reports_that_arrive_while_a_group_is_sent_are_sent_together_before_the_end() -> None:
    is_open, entered, groups = threading.Event(), threading.Semaphore(0), list[list[Report]]()

    def send(group: Sequence[Report]) -> None:
        entered.release()
        assert is_open.wait(10)
        groups.append(list(group))

    outbox = Outbox(send)
    outbox.start()
    first, *others = checkpoint(), *(outcome() for _ in range(4))
    outbox.put(first)
    assert entered.acquire(timeout=10)
    for report in others:
        outbox.put(report)
    assert not outbox.close(0.1), "it does not wait forever for an unreachable broker"
    is_open.set()
    outbox.join(10)
    assert (outbox.is_alive(), groups) == (False, [[first], others])


def test_only_an_outcome_is_sent_by_the_thread_that_has_it_and_only_if_the_broker_accepts_it_at_once() -> None:
    """A step never waits for the checkpoint of the one before it, and no thread waits for the end of an outage."""
    senders: list[threading.Thread] = []
    failing, done = [OSError("away")], list[Report]()

    def send(_: Sequence[Report]) -> None:
        senders.append(threading.current_thread())
        if len(senders) > 1 and failing:
            raise failing.pop()

    outbox = Outbox(send, done.extend, retry_seconds=0.01)
    outbox.start()
    reports = [outcome(), outcome(), checkpoint()]
    for report in reports:
        outbox.put(report)
        eventually(lambda: done[-1:] == [report], what="the report")  # noqa: B023 - it ends before the next one
        time.sleep(2 * PAUSE_PER_REPORT)
    assert outbox.close(10)
    here = threading.current_thread()
    assert (senders, done) == ([here, here, outbox, outbox], reports)


def test_a_later_checkpoint_or_the_outcome_replaces_a_checkpoint() -> None:
    running, over = uuid.uuid4(), uuid.uuid4()
    newest, ended = checkpoint(running, 2), outcome(over)
    assert sent(checkpoint(running, 1), checkpoint(over, 1), newest, ended) == [[newest, ended]]


def test_finished_items_wait_with_their_checkpoint_and_go_with_a_failure() -> None:
    lease = uuid.uuid4()
    first, second = (item_group(command(**ids_of(lease)), FinishedItems(1, {n: "[]"}, 2, 0)) for n in range(2))
    before, after, failed = checkpoint(lease, 1), checkpoint(lease, 2), outcome(lease)
    ended = failed._replace(outcome=failed.outcome and failed.outcome.model_copy(update={"outcome": "COMPLETED"}))
    items = Report(HERE, items=(first,))
    assert sent(before, items, Report(HERE, items=(second,))) == [[before._replace(items=(first, second))]]
    assert sent(before, items, failed) == [[failed._replace(items=(first,))]]
    assert (sent(items, after), sent(items, ended)) == ([[after]], [[ended]])


def test_reports_about_different_releases_are_sent_separately_and_a_message_is_bounded() -> None:
    ours, theirs = outcome(), outcome(identity=ELSEWHERE)
    assert sent(ours, theirs) == [[ours], [theirs]]
    reports = [outcome() for _ in range(MOST_REPORTS + 1)]
    assert sent(*reports) == [reports[:-1], reports[-1:]]
    members: list[dict[str, Any]] = [{"output": LARGE}, {"asked": LARGE}, {"why": LARGE}]
    for part in members:
        reports = [outcome(**part) for _ in range(3)]
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
    before, done, report = list[int](), list[Report](), outcome()

    def send(group: Sequence[Report]) -> None:
        before.append(len(done))
        if len(before) < MOST_TRIES + 3:
            raise OSError("away")

    empty(Outbox(send, done.extend, retry_seconds=0.01), report)
    assert (before, done) == ([0] * (MOST_TRIES + 3), [report])
