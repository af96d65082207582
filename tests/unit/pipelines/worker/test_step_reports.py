import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from logging.config import dictConfig
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipelines.step_reports import ReportedLines, Reporter, current, reports_of
from pipelines.worker.host_state import HeldLeases
from pipelines.worker.outcomes import Outbox, Report
from pipelines.worker.printed import end_lines, printed_lines
from pipelines.worker.worker_log import configure_logs
from tests.unit.pipelines.worker.conftest import Hosted, command, executing, heartbeat, outcomes, released
from wire import log_lines, masks
from wire.log_lines import LineFormatter
from wire.messages.celery_messages import Outcome, OutcomeGroup, StepReport
from wire.messages.sealing import decode, verify
from wire.messages.step_reports import LONGEST_LINE, LONGEST_TOGETHER, MOST_LINES, MOST_LIVE_LINES, StepLine

SOURCE = """
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext

HERE = Path(__file__).parent
log = logging.getLogger("author")


@dataclass
class Order:
    number: int


pipeline = Pipeline("tests.saying")


@pipeline.step
def split(order: Order, context: StepContext) -> list[Order]:
    if order.number == 0:
        return []
    print("rows", order.number, end="")
    print()
    log.warning("read %d %s", order.number, "token-4711")
    print("loading 1%\\rloading 99%", file=sys.stderr)
    return [Order(number) for number in range(order.number)]


@pipeline.step
def book(order: Order, context: StepContext) -> Order:
    print("left", context.last_heartbeat)
    context.heartbeat({"row": order.number})
    if not (HERE / "details").exists():
        context.progress(order.number + 1, 2, "token-4711")
    if order.number == 1:
        for number in range(30):
            print("more", number)
        (HERE / "marks").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)
        raise ValueError("bad token-4711")
    return order


@pipeline.step
def flood(orders: list[Order]) -> Order:
    for number in range(1_000 if (HERE / "flood").exists() else 0):
        print(number, "x" * 2_000)
    print("begun", end="")
    return Order(0)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with released(tmp_path_factory.mktemp("saying"), SOURCE) as made:
        yield made


@contextmanager
def logged() -> Iterator[list[str]]:
    """Log as a worker does, and yield the lines in JSON. A fixture would see other streams than its test."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(LineFormatter("json").format(record))

    before = logging.root.handlers, logging.root.level
    logging.root.handlers = [Lines(), ReportedLines()]
    logging.root.setLevel(logging.INFO)
    masks.hide(["token-4711"])
    try:
        with printed_lines(copies=False):
            yield lines
    finally:
        logging.root.handlers, level = before
        logging.root.setLevel(level)


def texts(report: StepReport | None) -> list[tuple[str, int, int | None, str]]:
    return [] if report is None else [(level, step, item, text) for _, level, step, item, text in report.lines]


def test_a_line_is_whole_and_belongs_to_its_execution_step_and_item(hosted: Hosted) -> None:
    host, sent = hosted.host(), command(2, attempt=3)
    with logged() as log, executing(hosted, host, sent) as reports:
        while not (hosted.folder / "marks").exists():
            pass
        running = heartbeat(host)
    failed = reports[-1].outcome
    assert failed is not None
    assert failed.failure is not None
    expected = [
        ("INFO", 0, None, "rows 2"),
        ("WARNING", 0, None, "read 2 [secret]"),
        ("WARNING", 0, None, "loading 99%"),
        ("INFO", 1, 0, "left None"),
        ("INFO", 1, 1, "left None"),
    ]
    more = [("INFO", 1, 1, f"more {number}") for number in range(30)]
    assert texts(failed.report) == expected + more
    assert "[secret]" in failed.failure.message + failed.failure.traceback
    assert "token-4711" not in failed.model_dump_json() + "".join(log)

    [live] = running.reports
    assert (live.lease_token, live.transition_key) == (sent.lease_token, sent.transition_key)
    assert (live.done, live.total, live.message, live.details) == (2, 2, "[secret]", '[1,1,{"row":1}]')
    assert texts(live) == (expected + more)[-MOST_LIVE_LINES:]
    lines = [json.loads(line) for line in log]
    fields = {"execution": str(sent.execution_id), "step": "Book", "attempt": 3, "item": 0}
    assert next(line for line in lines if line["event"] == "left None").items() >= fields.items()


@pytest.mark.parametrize("reported", ["progress", "details"])
def test_a_report_wakes_the_heartbeats_and_is_not_sent_again_unchanged(hosted: Hosted, reported: str) -> None:
    (hosted.folder / reported).touch()
    host, sent = hosted.host(), command(2)
    with logged(), executing(hosted, host, sent):
        assert host.changed.wait(10)
        while not (hosted.folder / "marks").exists():
            pass
        encrypted = [host.heartbeat("HEALTHY")["seals"][0]["encrypted"]]
        assert host.has_progress  # what the step reports now does not wake them at once
        encrypted.append(host.heartbeat("HEALTHY")["seals"][0]["encrypted"])
        assert encrypted == [True, False], "only a heartbeat with a report is encrypted"
        assert not host.has_progress


def test_reports_under_a_lost_lease_wake_no_heartbeat() -> None:
    woken: list[bool] = []
    leases, sent = HeldLeases(lambda: woken.append(True)), command()
    leases.take([sent])
    lease = leases.begin(sent.lease_token)
    assert lease is not None
    reports_of(lease).set_progress(1, None, "")
    leases.lose([sent.lease_token])
    reports_of(lease).set_progress(2, None, "")
    assert woken == [True]


def test_the_next_attempt_reads_what_the_same_step_and_item_left(hosted: Hosted) -> None:
    texts_by_left = {}
    for left in ('[1,0,{"row":7}]', '[1,1,"other item"]', '[0,null,"other step"]'):
        with logged():
            [done] = outcomes(hosted.host(), command(1, last_heartbeat=left))
        texts_by_left[left] = [text for *_, text in texts(done.report) if text.startswith("left")]
    assert [*texts_by_left.values()] == [["left {'row': 7}"], ["left None"], ["left None"]]


def test_lines_are_bounded_and_the_one_without_an_end_counts(hosted: Hosted) -> None:
    (hosted.folder / "flood").touch()
    with logged():
        of_stream, resumed = outcomes(
            hosted.host(), command(1), command(current_step_index=2, shape="MULTI", payload="[]")
        )
    for done in (of_stream, resumed):
        lines = texts(done.report)
        assert lines[-1] == ("INFO", 2, None, "begun")
        assert 50 < len(lines) <= MOST_LINES
        assert {len(text) for *_, text in lines[:-1]} == {LONGEST_LINE}
        assert sum(len(text) for *_, text in lines) <= LONGEST_TOGETHER


def test_messages_without_reports_do_not_change() -> None:
    sent = command(1)
    ids = sent.model_dump(include={"execution_id", "execution_version", "lease_token", "transition_key"})
    outcome = Outcome(**ids, outcome="COMPLETED")
    assert "report" not in outcome.model_dump_json(by_alias=True)
    assert "lastHeartbeat" not in sent.model_dump_json(by_alias=True)


def test_a_log_handler_that_writes_to_stderr_does_not_log_its_own_lines() -> None:
    with logged() as log:
        handler = logging.StreamHandler(sys.stderr)
        logging.root.addHandler(handler)
        print("once", file=sys.stderr)
        sys.stderr.close()
        print("again")
        logging.root.removeHandler(handler)
    assert [json.loads(line)["event"] for line in log] == ["once", "again"]


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Log as the process of a worker does, and undo what the block configures."""
    before = logging.root.handlers, logging.root.level, logging.raiseExceptions
    logging.root.handlers = []
    configure_logs("json", "INFO")
    try:
        with printed_lines(copies=False):
            yield
    finally:
        logging.root.handlers, level, logging.raiseExceptions = before
        logging.root.setLevel(level)
        logging.captureWarnings(False)


@contextmanager
def reporting() -> Iterator[Callable[[], list[str]]]:
    """Run the block as a step, and yield a function that ends its lines and returns their texts."""
    reporter = Reporter()
    tokens = current.set(reporter), log_lines.step_and_item.set(("say", None))

    def reported() -> list[str]:
        end_lines(reports_of(reporter))
        report = reporter.reports and reporter.reports.with_all_lines({"say": 0})
        return [text for *_, text in texts(report or None)]

    yield reported
    current.reset(tokens[0])
    log_lines.step_and_item.reset(tokens[1])


ESCAPED = 'a"b\\c'
CONFIGURATION = {"version": 1, "disable_existing_loggers": False, "root": {"handlers": []}}


def configuring(configure: Callable[[], None]) -> None:
    configure()
    logging.getLogger("author").warning("logged")
    print("printed")


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (lambda: sys.stdout.buffer.write(b"half \xff\x00\nrest"), ["half \ufffd\ufffd", "rest"]),
        (lambda: print("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end"), ["red end"]),
        (lambda: print("\ud800"), ["\ufffd"]),
        (lambda: [sys.stdout.write("." * 9 + "token-4711") for _ in range(3_000)], None),
        (lambda: print("y" * 10_000_000 + "\n", end=""), ["y" * (LONGEST_LINE - 1) + "…"]),
        (
            lambda: print(KeyError(ESCAPED), quote(ESCAPED, safe=""), json.dumps(ESCAPED)),
            ["'[secret]' [secret] \"[secret]\""],
        ),
        (lambda: configuring(lambda: logging.basicConfig(force=True)), ["logged", "printed"]),
        (lambda: configuring(lambda: dictConfig(CONFIGURATION)), ["logged", "printed"]),
        (lambda: print(sys.stdout.encoding, sys.stdout.isatty()), ["utf-8 False"]),
    ],
)
def test_whatever_a_step_does_to_its_streams_its_lines_are_reported(
    say: Callable[[], object], expected: list[str] | None
) -> None:
    masks.hide(["token-4711", ESCAPED])
    with as_in_a_worker(), reporting() as reported:
        say()
        lines = reported()
    assert expected is None or lines == expected
    assert "4711" not in "".join(lines)


def test_what_is_printed_after_the_end_of_a_transition_belongs_to_no_other_one() -> None:
    with as_in_a_worker():
        for _ in range(20):
            with log_lines.bound({"execution": "e"}), reporting() as reported:
                late = copy_context()
                assert reported() == []
            late.run(print, "late", end="")
            del late


def test_outcomes_with_many_short_lines_are_sent_in_messages_that_can_be_read(hosted: Hosted) -> None:
    host, messages = hosted.host(), list[Any]()
    [outcome] = outcomes(host, command(0))
    line: StepLine = (1_800_000_000_000, "INFO", 0, None, "x")
    full = outcome.model_copy(update={"report": StepReport(lines=[line] * MOST_LINES)})
    outbox = Outbox(lambda reports: messages.append(host.sealed(reports)))
    for _ in range(500):
        outbox.put(Report(host.release.identity, full))
    outbox.start()
    assert outbox.close(60)
    groups = [decode(verify(message, lambda _: [hosted.key]), OutcomeGroup) for message in messages]
    assert sum(len(group.outcomes) for group in groups) == 500


def test_secrets_are_hidden_longest_first_and_line_by_line() -> None:
    masks.hide(["abcd-secret", "abcd-secret-2", "-----BEGIN\nMIIEvQIBADANBg\nx\n-----END"])
    assert masks.masked("abcd-secret-2, abcd-secret") == "[secret], [secret]"
    assert masks.masked("key MIIEvQIBADANBg x") == "key [secret] x"


SUPERVISED = """
import asyncio

from pipelines import Pipeline

pipeline = Pipeline("tests.supervised")


@pipeline.step
async def begin(number: int) -> int:
    print("begun", number, end="")
    await asyncio.sleep(0.3)
    print(" ended", number, end="")
    return number


@pipeline.step(timeout=9)
def end(number: int) -> int:
    print("limited", number, end="")
    return number
"""


def test_lines_without_an_end_belong_to_their_execution_on_the_event_loop_and_under_a_limit(tmp_path: Path) -> None:
    with released(tmp_path, SUPERVISED) as supervised, logged():
        host = supervised.host()
        for _ in range(2):  # the second time, the threads of the first one run the steps
            for done in outcomes(host, *(command(payload=str(number)) for number in range(2))):
                [number] = done.output_payloads
                assert texts(done.report) == [
                    ("INFO", 0, None, f"begun {number} ended {number}"),
                    ("INFO", 1, None, f"limited {number}"),
                ]
