import threading
from typing import Any

import pytest

from pipelines import Pipeline, StepContext, testing
from pipelines.authoring.compiler import declarations
from pipelines.failures import Failed
from pipelines.worker import outcomes
from pipelines.worker.failed_items import Failing
from pipelines.worker.item_steps import FinishedItems
from pipelines.worker.items import ItemLimits
from pipelines.worker.run_results import Completed, RunResult
from pipelines.worker.runner import run
from pipelines.worker.supervision import Supervisor
from tests.running import eventually
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.conftest import command
from wire import log_lines

ITEMS = """
import threading, time
from pipelines import ItemFailure
from wire import log_lines

calls, read, seen, running = [], [], set(), set()
gate = threading.Event()

@pipeline.step
def spread(n: int) -> Iterator[int]:
    for i in range(n):
        read.append(i)
        yield i

@pipeline.step(parallel=8{options})
def work(n: int, context: StepContext) -> {result}:
    calls.append(n)
    running.add(n)
    seen.add((context.item_index == n, log_lines.step_and_item.get()[0], log_lines.fields.get() != ()))
    try:
        {body}
    finally:
        running.discard(n)
    return f"r{{n}}"
"""
FLAKY = "if n % 10 == 3 and calls.count(n) < 3: raise OSError('flaky')"


@pytest.fixture
def authored(author: Author) -> Any:
    def make(body: str, options: str = "", result: str = "str", more: str = "") -> tuple[Pipeline, Any]:
        pipeline = author.pipeline(ITEMS.format(options=options, body=body, result=result) + more)
        return pipeline, __import__("authored")

    return make


def ran(pipeline: Pipeline, n: int, context: StepContext, **options: Any) -> RunResult:
    with log_lines.bound({"execution": "x"}):
        return run(pipeline, n, start=0, stop=-1, context=lambda: context, item_delay=lambda s: s / 100, **options)


def test_items_run_in_threads_in_order_and_a_delayed_one_does_not_block_the_others(
    authored: Any, context: StepContext
) -> None:
    pipeline, module = authored(FLAKY, ", retries=2, delay=1, jitter=False")
    result = ran(pipeline, 200, context)
    assert isinstance(result, Completed)
    assert result.outputs == [f"r{n}" for n in range(200)]
    assert (len(module.calls), module.seen) == (200 + 2 * 20, {(True, "Work", True)})
    first = module.calls.index(13)
    assert set(range(14, 20)) <= set(module.calls[first : module.calls.index(13, first + 1)])
    assert testing.run(pipeline, 200).values == result.outputs
    eventually(lambda: not any(thread.name == "item" for thread in threading.enumerate()), what="the end of threads")


@pytest.mark.parametrize(
    ("options", "changed", "tries", "retryable"),
    [
        ("", {}, "", True),
        (", retries=1, delay=0", {}, " (tried 2 times)", False),
        (", retries=9, delay=9", {"retries": 1, "delaySeconds": 0}, " (tried 2 times)", False),
        ("", {"retries": 1, "delaySeconds": 0, "jitter": False}, " (tried 2 times)", False),
    ],
)
def test_an_item_that_fails_for_good_is_named_and_what_finished_is_stored(
    authored: Any, context: StepContext, options: str, changed: dict[str, Any], tries: str, retryable: bool
) -> None:
    pipeline, module = authored(FLAKY.replace("% 10 ", ""), options)
    kept: list[FinishedItems] = []
    stores: dict[str, Any] = {"keep": lambda *_: None, "keep_items": kept.append}
    failed = ran(pipeline, 1000, context, item_policies={1: changed}, **stores)
    assert isinstance(failed, Failed)
    text = f'step "Work": item 4{tries}: flaky; the item is 3'
    assert (failed.message, failed.retryable, failed.step_index) == (text, retryable, 1)
    finished = {index: document for report in kept for index, document in report.documents().items()}
    assert set(finished) == set(module.calls) - {3}
    assert not module.running
    module.calls.clear()
    rest: dict[str, Any] = {"shape": "MULTI", "finished": finished, "item_policies": {1: changed}}
    again = run(pipeline, list(range(6)), start=1, stop=-1, context=lambda: context, **rest)
    assert isinstance(again, Failed)
    assert module.calls[0] == 3


def test_an_item_at_its_time_limit_fails_alone_and_its_thread_is_abandoned(authored: Any, context: StepContext) -> None:
    pipeline, module = authored(
        "if n == 3: gate.wait(9)", ', timeout=0.2, retries=1, delay=0, on_item_failure="collect"', "str | ItemFailure"
    )
    supervisor = Supervisor()
    result = ran(pipeline, 300, context, supervisor=supervisor)
    assert isinstance(result, Completed)
    assert (result.outputs[3]["error"], result.outputs[3]["tries"], len(module.calls)) == ("STEP_TIMEOUT", 2, 301)
    assert supervisor.abandoned == 2
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "item"), "they hold up no process"
    module.gate.set()
    eventually(lambda: supervisor.abandoned == 0, what="the end of the abandoned threads")


def test_failed_items_are_collected_in_their_place(authored: Any, context: StepContext) -> None:
    pipeline, module = authored(
        "if n == 3: raise NonRetryable('n' * 900)", ', retries=9, on_item_failure="collect"', "str | ItemFailure"
    )
    failing: list[Failing] = []
    stored = {"index": 9, "kind": "item-failure", "error": "E", "message": "m", "item": "", "tries": 1}
    rest: dict[str, Any] = {"shape": "MULTI", "finished": {1: [stored], 2: ["r2"]}, "failing": failing}
    run(pipeline, list(range(5)), start=1, stop=-1, context=lambda: context, **rest)
    assert [(error.item.index, error.failure.message[:2]) for error in failing] == [(1, "m"), (3, "nn")]
    checkpoint = outcomes.reached(command(1), 2, [], many=True, failing=failing)
    assert checkpoint is not None
    [reported] = checkpoint.checkpoint().failed_items
    assert (reported.failed, [item.item for item in reported.items]) == (2, ["1", "3"])
    _, failure, after = testing.run(pipeline, 5).values[2:]
    assert (failure.index, failure.error, failure.item, failure.tries) == (3, "pipelines.errors.NonRetryable", "3", 1)
    assert (len(failure.message), after, module.calls.count(3)) == (250, "r4", 2)
    assert declarations(pipeline)["steps"] == {"Work": {"retries": 9, "parallel": 8, "onItemFailure": "collect"}}


def test_a_stream_is_read_as_far_as_threads_are_free_and_ends_with_its_transition(
    authored: Any, context: StepContext
) -> None:
    take = "\n@pipeline.step\ndef take(texts: Iterable[str]) -> str:\n    return next(iter(texts))\n"
    pipeline, module = authored("gate.wait(5) if n == 1 else gate.set() if n == 19 else None", more=take)
    result = ran(pipeline, 10_000, context, item_limits=ItemLimits(ahead=20))
    assert isinstance(result, Completed)
    assert (result.outputs, len(module.read) <= 21, module.running) == (["r0"], True, set())


def test_groups_are_bounded_and_nothing_runs_once_the_lease_is_lost(authored: Any, context: StepContext) -> None:
    limits = ItemLimits(group_seconds=0, group_characters=300)
    pipeline, module = authored("time.sleep(0.001)")
    kept: list[FinishedItems] = []
    lost = threading.Event()

    def keep(report: FinishedItems) -> None:
        kept.append(report)
        if sum(len(items.texts) for items in kept) > 50:
            lost.set()

    stores: dict[str, Any] = {"keep": lambda *_: None, "keep_items": keep, "item_limits": limits}
    failed = ran(pipeline, 10_000, context, is_cancelled=lost.is_set, **stores)
    assert isinstance(failed, Failed)
    assert failed.failure_class == "pipelines.errors.Cancelled"
    assert len(module.calls) < 100
    assert {report.total for report in kept} == {10_000}
    assert all(report.documents() == {n: [f"r{n}"] for n in report.texts} for report in kept)
