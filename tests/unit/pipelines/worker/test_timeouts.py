import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines import StepContext
from pipelines.failures import Failed
from pipelines.testing import RunFailed
from pipelines.testing import run as run_in_test
from pipelines.worker import event_loop
from pipelines.worker.host import Host
from pipelines.worker.run_results import Completed, RunResult
from pipelines.worker.runner import run
from pipelines.worker.supervision import LOCAL, Supervisor
from tests.cases import cases
from tests.making import granted
from tests.running import eventually
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.conftest import (
    LIMITED_SOURCE,
    Hosted,
    command,
    executing,
    heartbeat,
    outcomes,
    released,
)
from wire.messages.celery_messages import Instruction
from wire.messages.sealing import seal


def sizes(host: Host) -> tuple[int, int]:
    sent = heartbeat(host)
    return sent.capacity, sent.abandoned


REPLACED: tuple[dict[str, int], int, str] = ({}, 2, "HEALTHY")
KEPT, RESTARTED = ({"replaceable": 0}, 1, "HEALTHY"), ({"restart_at": 1}, 2, "DRAINING")


@cases(("options", "places", "state"), [REPLACED, KEPT, RESTARTED])
def test_at_its_limit_a_step_fails_and_its_thread_is_replaced_keeps_a_place_or_ends_the_worker(
    tmp_path: Path, options: dict[str, Any], places: int, state: str
) -> None:
    with released(tmp_path, LIMITED_SOURCE) as hosted:
        release = hosted.host().release
        host = Host(release, key=Hosted.key, worker_id="w", capacity=1, take_ticket=granted, **options)
        host.follow(seal(release.identity, Instruction(worker_id="w", drain=False, lost_leases=[]), Hosted.key))
        with executing(hosted, host, command(99), command(1)) as reports:
            eventually(lambda: sizes(host) == (places, 1) and len(reports) == places, what="what continues")
            assert (heartbeat(host).state, host.accepting) == (state, state == "HEALTHY")
            failure = next(report.outcome.failure for report in reports if report.outcome and report.outcome.failure)
            assert failure.model_dump(exclude={"traceback"}) == {
                **{"failure_class": "STEP_TIMEOUT", "retryable": True, "step_index": 0},
                "message": 'step "Settle": it exceeded its time limit of 0.3 s',
            }
            assert "time.sleep(0.01)" in failure.traceback
            assert all(report.outcome and len(report.outcome.steps) == 1 for report in reports), "each reports its time"
            host.changed.clear()
        eventually(lambda: sizes(host) == (1, 0), what="the end of the thread")
        assert (host.changed.is_set(), len(reports)) == (True, 2), "the outcome of the thread is dropped"
        hosted.forget()
        [outcome] = outcomes(host, command(98, step_timeouts={0: 0.1}))
        assert "limit of 0.1 s" in str(outcome.failure)
        eventually(lambda: sizes(host) == (1, 0), what="the end of a step that checks for cancellation")


IMPORTS = "import asyncio, contextvars, sys, threading, time\nfrom collections.abc import AsyncIterator\n"
STEP, LIMITED = "@pipeline.step\n", "@pipeline.step(timeout=0.3)\n"
SPREAD = STEP + "def spread(n: int) -> Iterator[int]:\n    for i in range(n):\n        {pause}\n        yield i\n"
SLOW_SOURCE = (
    SPREAD.format(pause="time.sleep(0.15)")
    + LIMITED
    + ("def add(ns: Iterator[int]) -> int:\n    total = sum(ns)\n    time.sleep(0.1)\n    return total\n")
)
EACH_ITEM = SPREAD.format(pause="pass") + LIMITED + "{kind}def one(n: int) -> int:\n    {wait}\n    return n\n"
GENERATOR = LIMITED + (
    "async def spread(n: int) -> AsyncIterator[int]:\n    async with asyncio.timeout(9), asyncio.TaskGroup() as all:\n"
    "        for i in range(n):\n            await all.create_task(asyncio.sleep(0.15))\n            yield i\n"
    f"{STEP}def add(ns: list[int]) -> int: return sum(ns)\n"
)
LIST = SPREAD.format(pause="pass") + STEP + "async def add(ns: Iterator[int]) -> int: return next(ns) + sum(ns)\n"
PAUSED = SPREAD.format(pause="time.sleep(0.15)")
STREAM = (
    PAUSED
    + f"{LIMITED}async def double(ns: AsyncIterator[int]) -> AsyncIterator[int]:\n"
    + "    async for n in ns:\n        yield n\n        await asyncio.sleep(0)\n"
    + f"{LIMITED}async def add(ns: AsyncIterator[int]) -> int:\n    total, ahead = 0, asyncio.create_task(anext(ns))\n"
    + "    while (n := await anext(ns, None)) is not None:\n        total += n\n    return total + await ahead\n"
)
READS = PAUSED + LIMITED + "async def add(ns: AsyncIterator[int]) -> int:\n    {body}\n"
IMPATIENT = READS.format(
    body="found = []\n    while True:\n        try: found.append(await asyncio.wait_for(anext(ns), 0.02))\n"
    "        except TimeoutError: await asyncio.sleep(0.2)\n        except StopAsyncIteration: return sum(found)"
).replace(LIMITED, STEP)
HIDING = READS.format(body="try: return [n async for n in ns][0]\n    except BaseException: return 7").replace(
    "yield i", "yield 1 // (1 - i)"
)
STOPPED = STEP + (
    "async def one(n: int) -> int:\n    asyncio.get_running_loop().stop()\n    return await asyncio.sleep(0.05, n)\n"
)
STUBBORN = LIMITED + (
    "async def one(n: int) -> int:\n    while True:\n        try:\n            await asyncio.sleep(9)\n"
    "        except asyncio.CancelledError:\n            continue\n"
)
VARIABLES = (
    f"var = contextvars.ContextVar('var', default=0)\n{STEP}async def one(n: int, context: StepContext) -> int:\n"
    "    var.set(5)\n    assert context.step_name == 'One'\n    return var.get()\n"
    f"{STEP}async def two(n: int) -> int: return n + var.get()\n"
)
SLEEP = "async def one(n: int) -> int:\n    await asyncio.sleep(0.5)\n    return threading.get_ident()\n"


def ran(author: Author, context: StepContext, body: str, payload: Any = 1, **options: Any) -> RunResult:
    return run(author.pipeline(IMPORTS + body), payload, start=0, stop=-1, context=lambda: context, **options)


@cases(
    ("body", "payload", "result"),
    [
        (SLOW_SOURCE, 4, [6]),
        (EACH_ITEM.format(kind="", wait="time.sleep(0.15)"), 4, [0, 1, 2, 3]),
        (EACH_ITEM.format(kind="async ", wait="await asyncio.sleep(0.15)"), 4, [0, 1, 2, 3]),
        (EACH_ITEM.format(kind="async ", wait="await asyncio.sleep(9 * (n == 2))"), 4, "STEP_TIMEOUT"),
        (GENERATOR, 4, [6]),
        (GENERATOR.replace("sleep(0.15)", "sleep(i * 0.15)"), 4, "STEP_TIMEOUT"),
        (LIST, 4, [6]),
        (STREAM, 4, [6]),
        (READS.format(body="return [n async for n in ns][-1] + await asyncio.sleep(0.5, 1)"), 4, "STEP_TIMEOUT"),
        (IMPATIENT, 4, [6]),
        (HIDING, 3, "ZeroDivisionError"),
        (STOPPED, 1, [1]),
        (STUBBORN, 1, "STEP_TIMEOUT"),
        (VARIABLES, 1, [5]),
        (STEP + "async def one(n: int) -> int: sys.exit(3)\n", 1, "SystemExit"),
        (STEP + "async def one(n: int) -> int: raise asyncio.CancelledError\n", 1, "CancelledError"),
        (LIMITED + "def one(n: int) -> int: sys.exit(3)\n", 1, "SystemExit"),
        (STEP + "async def one(n: int) -> int: return 'x'\n", 1, "INVALID_STEP_OUTPUT"),
    ],
)
def test_a_limit_is_for_one_call_and_async_steps_have_the_results_of_others(
    author: Author, context: StepContext, monkeypatch: pytest.MonkeyPatch, body: str, payload: int, result: object
) -> None:
    monkeypatch.setattr(event_loop, "CLEANUP_SECONDS", 0.2)
    actual = ran(author, context, body, payload)
    shown = actual.failure_class.rpartition(".")[2] if isinstance(actual, Failed) else getattr(actual, "outputs", None)
    assert shown == result, actual
    tested = run_in_test(author.load("authored:pipeline"), payload, raises=False)
    name = tested.error.code if isinstance(tested.error, RunFailed) else type(tested.error).__name__
    assert (tested.values or name) == result


def test_a_command_brings_limits_and_cancellation(author: Author, context: StepContext) -> None:
    body = "def one(n: int) -> int:\n    time.sleep(0.5)\n    return n\n"
    assert ran(author, context, LIMITED + body, limits={0: 9.0}) == Completed([1], many=False)
    begun, gathered = time.monotonic(), "\n\ndef two(n: int) -> int: return n\n\npipeline.gather(one, two)\n"
    for step, options, code in (
        (STEP + body, {"limits": {0: 0.1, 9: 0.1}}, "STEP_TIMEOUT"),
        (body + gathered, {"limits": {0: 0.1}}, "STEP_TIMEOUT"),
        (STEP + SLEEP.replace("0.5", "9"), {"is_cancelled": lambda: time.monotonic() > begun + 1}, "Cancelled"),
    ):
        failed = ran(author, context, step, **options)
        assert isinstance(failed, Failed)
        assert failed.failure_class.endswith(code)


def test_a_step_that_blocks_the_event_loop_is_named_and_the_next_step_gets_another_loop(
    author: Author, context: StepContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_loop, "CLEANUP_SECONDS", 0.2)
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.1)
    supervisor, body = Supervisor(), LIMITED + "async def one(n: int) -> int:\n    time.sleep(n)\n    return n\n"
    failed = ran(author, context, body, 2, supervisor=supervisor)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.frames) == ("STEP_TIMEOUT", ("authored.py:26 in one",))
    assert supervisor.abandoned == 1
    assert [message.partition(" for ")[0] for message in caplog.messages] == ['Step "One" has blocked the event loop']
    assert " at authored.py:26: " in caplog.text
    assert isinstance(ran(author, context, body, 0, supervisor=supervisor), Completed)
    eventually(lambda: supervisor.abandoned == 0, what="the end of the step")


def test_a_loop_that_stays_blocked_is_left_and_no_other_execution_hangs_with_it(
    author: Author, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.1)
    monkeypatch.setattr(event_loop, "LONGEST_BLOCK", 0.5)
    body = "    if n < 0: time.sleep(-n)\n    await asyncio.sleep(max(n, 0))\n    return n\n"
    pipeline = author.pipeline(f"{IMPORTS}@pipeline.step(retry_on=KeyError)\nasync def one(n: int) -> int:\n{body}")
    supervisor = Supervisor()

    def one(n: int) -> RunResult:
        return run(pipeline, n, start=0, stop=-1, context=lambda: context, supervisor=supervisor)

    with ThreadPoolExecutor(2) as pool:
        waiting, blocking = pool.submit(one, 9), pool.submit(one, -3)
        failed = waiting.result(2.9)
        assert isinstance(failed, Failed)
        assert (failed.failure_class, failed.retryable, supervisor.abandoned) == ("EVENT_LOOP_BLOCKED", True, 1)
        assert one(0) == Completed([0], many=False), "on another loop"
        assert not blocking.done()
    assert blocking.result() == Completed([-3], many=False), "no limit ends it"


@cases(
    "body",
    [
        SPREAD.format(pause="pass")
        + LIMITED.replace(")", ", parallel=2)")
        + "def one(n: int) -> int: time.sleep(0.6)\n",
        LIMITED + "async def one(n: int) -> int: return await asyncio.to_thread(time.sleep, 0.6)\n",
        LIMITED + f"def one(n: int) -> int: return time.sleep(0.6) or n\n\n{STEP}def two(n: int) -> int: return n\n",
    ],
)
def test_no_abandoned_thread_keeps_a_process_from_ending_or_stores_a_checkpoint(
    author: Author, context: StepContext, body: str
) -> None:
    kept: list[Any] = []
    before = set(threading.enumerate())
    assert isinstance(ran(author, context, body, 2, keep=lambda *checkpoint: kept.append(checkpoint)), Failed)
    assert [thread for thread in threading.enumerate() if thread not in before and not thread.daemon] == []
    stored = len(kept)
    eventually(lambda: not any(thread.name == "item" for thread in threading.enumerate()), what="the end of the items")
    eventually(lambda: LOCAL.abandoned == 0, what="the end of the threads")
    assert len(kept) == stored


def test_many_async_steps_wait_on_one_event_loop(author: Author, context: StepContext) -> None:
    pipeline, begun = author.pipeline(IMPORTS + STEP + SLEEP), time.monotonic()

    with ThreadPoolExecutor(100) as pool:
        results = list(pool.map(lambda _: run(pipeline, 1, start=0, stop=-1, context=lambda: context), range(100)))
    assert isinstance(results[0], Completed)
    assert results == [results[0]] * 100, "all ran in one thread"
    assert time.monotonic() - begun < 5
