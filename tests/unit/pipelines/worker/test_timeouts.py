import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import StepContext
from pipelines.failures import Failed
from pipelines.testing import RunFailed
from pipelines.testing import run as run_in_test
from pipelines.worker import event_loop
from pipelines.worker.host import Host
from pipelines.worker.runner import Completed, RunResult, run
from pipelines.worker.supervision import Supervisor
from tests.cases import cases
from tests.running import eventually
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.conftest import Hosted, command, executing, heartbeat, released
from wire.messages.celery_messages import Instruction
from wire.messages.sealing import seal

SOURCE = """
import asyncio, time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline, StepContext

HERE = Path(__file__).parent


@dataclass
class Order:
    number: int


pipeline = Pipeline("tests.hosted", checkpoint=True)


def mark(number: int) -> None:
    with (HERE / "marks").open("a") as marks:
        marks.write(f"{number}\\n")


@pipeline.step
def accept(order: Order) -> Order:
    return order


@pipeline.step(timeout=0.3)
def settle(order: Order, context: StepContext) -> Order:
    mark(order.number)
    while order.number == 99 and not (HERE / "go").exists():
        time.sleep(0.01)
    if context.cancelled:
        mark(100)
    return order


@pipeline.step
async def ship(order: Order) -> Order:
    try:
        await asyncio.sleep(60 if order.number == 98 else 0)
    finally:
        mark(-order.number)
    return order
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with released(tmp_path_factory.mktemp("hosted"), SOURCE) as made:
        yield made


def new_host(hosted: Hosted, **options: Any) -> Host:
    hosted.forget()
    made = hosted.host(capacity=1)
    return Host(made.release, key=Hosted.key, worker_id="w", capacity=1, take_ticket=lambda _: True, **options)


def threads(host: Host) -> tuple[int, int]:
    sent = heartbeat(host)
    return sent.capacity, sent.abandoned


def test_at_its_limit_a_step_fails_and_its_thread_is_replaced_until_it_returns(hosted: Hosted) -> None:
    host = new_host(hosted)
    stuck, following = command(99, checkpoints=True), command(1)
    with executing(hosted, host, stuck, following) as reports:
        ended = eventually(lambda: [each.outcome for each in reports if each.outcome][1:], what="both outcomes")
        failed = next(each.outcome for each in reports if each.outcome and each.lease_token == stuck.lease_token)
        assert ended[0].output_payloads == ['{"number": 1}']
        assert failed.failure is not None
        assert failed.failure.model_dump(exclude={"traceback"}) == {
            **{"failure_class": "STEP_TIMEOUT", "retryable": True, "step_index": 1},
            "message": 'step "Settle": it exceeded its time limit of 0.3 s',
        }
        assert "time.sleep(0.01)" in failed.failure.traceback
        assert threads(host) == (2, 1)
        before = list(reports)
        host.changed.clear()
    eventually(lambda: threads(host) == (1, 0), what="the end of the thread")
    assert host.changed.is_set()
    assert (hosted.marks(), reports) == ([99, 1, -1, 100], before), "it saw its cancellation; nothing else followed"


@cases(("options", "sent", "accepts"), [({"replaceable": 0}, (1, 1), True), ({"restart_at": 1}, (2, 1), False)])
def test_a_thread_that_is_not_replaced_keeps_its_place_and_too_many_end_the_worker(
    hosted: Hosted, options: dict[str, int], sent: tuple[int, int], accepts: bool
) -> None:
    host = new_host(hosted, **options)
    host.follow(seal(host.release.identity, Instruction(worker_id="w", drain=False, lost_leases=[]), Hosted.key))
    with executing(hosted, host, command(99), command(1)) as reports:
        eventually(lambda: threads(host) == sent, what="the abandoned thread")
        assert (host.accepting, host.supervisor.must_restart) == (accepts, not accepts)
        assert heartbeat(host).state == ("HEALTHY" if accepts else "DRAINING")
        if accepts:
            time.sleep(0.2)
        assert len([each for each in reports if each.outcome]) == 1 or not accepts
    assert len([each for each in reports if each.outcome]) == 2


@cases(("number", "code"), [(98, "pipelines.errors.Cancelled"), (3, None)])
def test_a_lost_lease_cancels_an_async_step(hosted: Hosted, number: int, code: str | None) -> None:
    host, sent = new_host(hosted), command(number)
    with executing(hosted, host, sent) as reports:
        eventually(lambda: number in hosted.marks(), what="the steps before")
        lost = Instruction(worker_id="w", drain=False, lost_leases=[sent.lease_token])
        if code:
            host.follow(seal(host.release.identity, lost, Hosted.key))
        [report] = eventually(lambda: list(reports), what="the outcome")
    failure = report.outcome.failure if report.outcome else None
    assert (failure and failure.failure_class, hosted.marks()) == (code, [number, -number])


IMPORTS = "import asyncio, contextvars, sys, threading, time\nfrom collections.abc import AsyncIterator\nlog = []\n"
LIMITED = "@pipeline.step(timeout=0.3)\n"


def ran(author: Author, context: StepContext, body: str, payload: Any = 1, **options: Any) -> RunResult:
    pipeline = author.pipeline(IMPORTS + body)
    return run(pipeline, payload, start=0, stop=-1, context=lambda: context, **options)


SPREAD = (
    "@pipeline.step\ndef spread(n: int) -> Iterator[int]:\n    for i in range(n):\n        {pause}\n        yield i\n"
)
SLOW_SOURCE = (
    SPREAD.format(pause="time.sleep(0.15)") + LIMITED + "def add(ns: Iterator[int]) -> int:\n    return sum(ns)\n"
)
EACH_ITEM = SPREAD.format(pause="pass") + LIMITED + "{kind}def one(n: int) -> int:\n    {wait}\n    return n\n"
GENERATOR = (
    LIMITED + "async def spread(n: int) -> AsyncIterator[int]:\n"
    "    try:\n        async with asyncio.timeout(9), asyncio.TaskGroup() as group:\n"
    "            for i in range(n):\n                await group.create_task(asyncio.sleep(0.15))\n"
    "                yield i\n"
    "    finally:\n        log.append('closed')\n"
    "@pipeline.step\ndef add(ns: list[int]) -> int:\n    return sum(ns)\n"
)
STUCK_ITEM = GENERATOR.replace("asyncio.sleep(0.15)", "asyncio.sleep(i * 0.15)")
LIST = (
    SPREAD.format(pause="pass")
    + "@pipeline.step\nasync def add(ns: Iterator[int]) -> int:\n    return next(ns) + sum(ns)\n"
)
STUBBORN = (
    LIMITED + "async def one(n: int) -> int:\n    while True:\n        try:\n            await asyncio.sleep(9)\n"
    "        except asyncio.CancelledError:\n            log.append('ignored')\n"
)
VARIABLES = (
    "var = contextvars.ContextVar('var', default=0)\n"
    "@pipeline.step\nasync def one(n: int, context: StepContext) -> int:\n    var.set(5)\n"
    "    assert context.step_name == 'One'\n    return var.get()\n"
    "@pipeline.step\nasync def two(n: int) -> int:\n    return n + var.get()\n"
)


@cases(
    ("body", "payload", "result"),
    [
        (SLOW_SOURCE, 4, [6]),
        (EACH_ITEM.format(kind="", wait="time.sleep(0.15)"), 4, [0, 1, 2, 3]),
        (EACH_ITEM.format(kind="async ", wait="await asyncio.sleep(0.15)"), 4, [0, 1, 2, 3]),
        (EACH_ITEM.format(kind="async ", wait="await asyncio.sleep(9 * (n == 2))"), 4, "STEP_TIMEOUT"),
        (GENERATOR, 4, [6]),
        (STUCK_ITEM, 4, "STEP_TIMEOUT"),
        (LIST, 4, [6]),
        (STUBBORN, 1, "STEP_TIMEOUT"),
        (VARIABLES, 1, [5]),
        ("@pipeline.step\nasync def one(n: int) -> int:\n    sys.exit(3)\n", 1, "SystemExit"),
        ("@pipeline.step\nasync def one(n: int) -> int:\n    raise asyncio.CancelledError\n", 1, "CancelledError"),
        (LIMITED + "def one(n: int) -> int:\n    sys.exit(3)\n", 1, "SystemExit"),
        ("@pipeline.step\nasync def one(n: int) -> int:\n    return 'x'\n", 1, "INVALID_STEP_OUTPUT"),
    ],
)
def test_a_limit_is_for_one_call_and_async_steps_have_the_results_of_others(
    author: Author, context: StepContext, monkeypatch: pytest.MonkeyPatch, body: str, payload: int, result: object
) -> None:
    monkeypatch.setattr(event_loop, "CLEANUP_SECONDS", 0.2)
    found = ran(author, context, body, payload)
    shown = found.failure_class.rpartition(".")[2] if isinstance(found, Failed) else getattr(found, "outputs", None)
    assert shown == result, found
    tested = run_in_test(author.load("authored:pipeline"), payload, raises=False)
    name = tested.error.code if isinstance(tested.error, RunFailed) else type(tested.error).__name__
    assert (tested.values or name) == result


def test_the_limit_of_a_command_replaces_that_of_the_code(author: Author, context: StepContext) -> None:
    body = LIMITED + "def one(n: int) -> int:\n    time.sleep(0.5)\n    return n\n"
    assert ran(author, context, body, limits={0: 9.0}) == Completed([1], many=False)
    failed = ran(author, context, body.replace("(timeout=0.3)", ""), limits={0: 0.1})
    assert isinstance(failed, Failed)
    assert failed.failure_class == "STEP_TIMEOUT"


def test_a_step_that_blocks_the_event_loop_is_named_and_the_next_step_gets_another_loop(
    author: Author, context: StepContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_loop, "CLEANUP_SECONDS", 0.2)
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.1)
    supervisor = Supervisor()
    body = (
        LIMITED + "async def one(n: int) -> int:\n    if n:\n        time.sleep(n)\n    return threading.get_ident()\n"
    )
    caplog.set_level(logging.WARNING)
    failed = ran(author, context, body, 2, supervisor=supervisor)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, supervisor.abandoned) == ("STEP_TIMEOUT", 1)
    [line] = [each.getMessage() for each in caplog.records if "blocked the event loop" in each.getMessage()]
    assert line.startswith('Step "One" has blocked')
    assert "authored.py:28" in line
    assert isinstance(ran(author, context, body, 0, supervisor=supervisor), Completed)
    eventually(lambda: supervisor.abandoned == 0, what="the end of the step")


def test_many_async_steps_wait_on_one_event_loop(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline(
        IMPORTS + "@pipeline.step\nasync def one(n: int) -> int:\n    await asyncio.sleep(0.5)\n"
        "    return threading.get_ident()\n"
    )
    found: list[Any] = []

    def once() -> None:
        found.append(run(pipeline, 1, start=0, stop=-1, context=lambda: context))

    started = [threading.Thread(target=once) for _ in range(100)]
    begun = time.monotonic()
    for each in started:
        each.start()
    for each in started:
        each.join()
    assert time.monotonic() - begun < 5
    assert len({json.dumps(each.outputs) for each in found}) == 1
