import dataclasses
import sys
from textwrap import indent
from typing import Any, Literal

import pytest

from pipelines import Pipeline, StepContext
from pipelines.failures import Failed
from pipelines.worker.run_results import Completed, RunResult, Suspended
from pipelines.worker.runner import run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author

Shape = Literal["UNI", "MULTI"]
CARDINALITIES = """
log = []

@pipeline.step
def double(n: int) -> int:
    log.append(f"double {n}")
    return 2 * n

@pipeline.step
def spread(n: int) -> Iterator[int]:
    yield from range(n)

@pipeline.step
def odd(numbers: Iterable[int]) -> Iterator[int]:
    return (n for n in numbers if n % 2)

@pipeline.step
def add(numbers: list[int]) -> Decimal:
    return Decimal(sum(numbers))

@pipeline.step
def show(n: Decimal) -> str:
    return f"<{n}>"
"""
BAD = "INVALID_STEP_OUTPUT"
SPREAD = "@pipeline.step\ndef spread(n: int) -> Iterator[int]:\n    yield from range(n)\n"
TIMER = "pipeline.timer('Cool off', timedelta(1){of})\n"
SHOW_ANSWER = "@pipeline.step\ndef show(answer: bool) -> str:\n    return repr(answer)\n"
STEP = "@pipeline.step\ndef send(n: int) -> int:\n    done.append(n)\n    return n\n"


@pytest.fixture
def numbers(author: Author) -> Pipeline:
    return author.pipeline(CARDINALITIES)


def ran(pipeline: Pipeline, payload: Any, context: StepContext, start: int = 0, shape: Shape = "UNI") -> RunResult:
    cancelled = context.cancellation
    return run(pipeline, payload, start=start, stop=-1, context=lambda: context, is_cancelled=cancelled, shape=shape)


def failure(result: RunResult) -> Failed:
    assert isinstance(result, Failed)
    return result


def test_cardinalities_fold_over_one_and_many(numbers: Pipeline, context: StepContext) -> None:
    rows: list[tuple[Any, int, int, list[Any], bool]] = [
        (3, 0, -1, ["<9>"], False),
        (3, 0, 5, ["<9>"], False),
        (3, 0, 0, [3], False),
        (3, 0, 2, [0, 1, 2, 3, 4, 5], True),
        ([3, 1], 0, 2, [0, 1, 2, 3, 4, 5, 0, 1], True),
        (["1", "2.50"], 4, -1, ["<1>", "<2.50>"], True),
        ([], 0, 3, [], True),
        ([], 3, 4, ["0"], False),
        (5, 2, 3, [5], True),
        ("done", 5, -1, ["done"], False),
    ]
    for payload, start, stop, outputs, many in rows:
        shape: Shape = "MULTI" if isinstance(payload, list) else "UNI"
        outcome = run(numbers, payload, start=start, stop=stop, context=lambda: context, shape=shape)
        assert outcome == Completed(outputs, many), (payload, start, stop)
    for start, stop in ((-1, -1), (6, -1), (0, 6), (2, 1)):
        with pytest.raises(ValueError, match="of a pipeline of 5"):
            run(numbers, 1, start=start, stop=stop, context=lambda: context)


def test_an_undecodable_payload_is_final_and_runs_nothing(numbers: Pipeline, context: StepContext) -> None:
    rows: list[tuple[Any, Shape, str]] = [
        ("3", "UNI", 'step "Double": the input is not of type integer: Input should be a valid integer'),
        (3, "MULTI", "the input is not a list of items"),
        ([1, "2"], "MULTI", "item 2: the input is not of type integer"),
    ]
    for payload, shape, says in rows:
        failed = failure(ran(numbers, payload, context, shape=shape))
        assert (failed.failure_class, failed.retryable, failed.step_index) == ("UNDECODABLE_PAYLOAD", False, 0)
        assert says in failed.message
    assert sys.modules["authored"].log == []


def test_a_text_is_not_a_stream_of_characters(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline("@pipeline.step\ndef spread(n: int) -> Iterable[str]:\n    return 'text'")
    assert failure(ran(pipeline, 1, context)).failure_class == BAD


def test_the_context_names_the_step_and_the_item(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline(
        """
        @pipeline.step
        def look(n: int, context: StepContext) -> list[str]:
            return [f"{context.execution_id} {context.attempt} {context.transition_key} {context.step_name}"] * n

        @pipeline.step
        def key(text: str, context: StepContext) -> str:
            return f"{text} | {context.idempotency_key}"

        @pipeline.step
        def join(texts: list[str], context: StepContext) -> list[str]:
            return [*texts, context.idempotency_key]
        """
    )
    assert ran(pipeline, 2, context) == Completed(
        ["e-1 2 e-1:0:2 Look | e-1:1:item=0", "e-1 2 e-1:0:2 Look | e-1:1:item=1", "e-1:2"], many=True
    )


def awaiting(request: str, response: str) -> str:
    return f"pipeline.awaits('Approve', request={request}, response={response}, timeout=timedelta(hours=1))\n"


def test_an_await_suspends_with_its_requests(author: Author, context: StepContext) -> None:
    rows: list[tuple[str, int, int, list[Any], bool, str]] = [
        (SPREAD + awaiting("int", "bool") + SHOW_ANSWER, 2, 1, [0, 1], True, "ONE_TO_ONE"),
        (SPREAD + awaiting("list[int]", "bool") + SHOW_ANSWER, 2, 1, [[0, 1]], False, "MANY_TO_ONE"),
        (awaiting("int", "bool"), 4, 0, [4], False, "ONE_TO_ONE"),
        # A timer suspends once, with its whole input.
        (TIMER.format(of=", of=list[int]"), 4, 0, [[4]], False, "MANY_TO_MANY"),
        (SPREAD + TIMER.format(of=""), 3, 1, [[0, 1, 2]], False, "MANY_TO_MANY"),
    ]
    for body, payload, index, requests, itemized, cardinality in rows:
        suspended = ran(author.pipeline(body), payload, context)
        assert isinstance(suspended, Suspended)
        assert (suspended.step_index, suspended.requests, suspended.itemized) == (index, requests, itemized)
        assert suspended.step.cardinality == cardinality
    assert kept_by(author.pipeline(rows[0][0]), 0, context) == [(2, [], True)], "no question, but a checkpoint"


CANCELLED_ON_THE_WAY = """
log = []

@pipeline.step
def first(n: int, context: StepContext) -> int:
    log.append(context.cancelled)
    context.raise_if_cancelled()
    log.append("cancelled now")
    log.append(context.cancelled)
    return n

@pipeline.step
def second(n: int) -> int:
    log.append("second")
    return n
"""


def test_a_step_can_ask_whether_it_is_cancelled_and_the_next_never_begins(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline(CANCELLED_ON_THE_WAY)
    log = sys.modules["authored"].log
    cancellable = dataclasses.replace(context, cancellation=lambda: "cancelled now" in log)
    failed = failure(ran(pipeline, 1, cancellable))
    assert (failed.failure_class, failed.step_name) == ("pipelines.errors.Cancelled", "Second")
    assert log == [False, "cancelled now", True]


def kept_by(pipeline: Pipeline, payload: Any, context: StepContext) -> list[tuple[int, Any, bool]]:
    kept: list[tuple[int, Any, bool]] = []
    run(pipeline, payload, start=0, stop=-1, context=lambda: context, keep=lambda *checkpoint: kept.append(checkpoint))
    return kept


@cases("payload", [0, 1, 2])
def test_a_run_from_any_checkpoint_has_the_same_result(numbers: Pipeline, context: StepContext, payload: int) -> None:
    """A stream remains a stream, even with one item or none."""
    uninterrupted = ran(numbers, payload, context)
    assert isinstance(uninterrupted, Completed)
    for index, outputs, many in kept_by(numbers, payload, context):
        resumed = ran(numbers, outputs if many else outputs[0], context, index, "MULTI" if many else "UNI")
        assert resumed == uninterrupted, index


@cases("error", [OSError("broker away"), SystemExit(1)])
def test_a_checkpoint_that_cannot_be_stored_fails_the_transition_without_naming_a_step(
    numbers: Pipeline, context: StepContext, error: BaseException
) -> None:
    def keep(*_: Any) -> None:
        raise error

    failed = failure(run(numbers, 2, start=0, stop=-1, context=lambda: context, keep=keep))
    assert (failed.failure_class, failed.retryable, failed.step_index) == (type(error).__name__, True, None)


FAILURES = {
    "an error": ("raise OSError('the disk is gone')", "OSError"),
    "an exit": ("raise SystemExit", "SystemExit"),
    "the end of a generator": ("raise GeneratorExit", "GeneratorExit"),
    "a wrong item": ("yield 'two'", "INVALID_STEP_OUTPUT"),
    "a cancellation": ("cancelled.append(True)\nyield 2", "pipelines.errors.Cancelled"),
}
SWALLOWING = {
    "except": "try:\n    kept.extend(numbers)\nexcept:\n    pass",
    "finally": "try:\n    kept.extend(numbers)\nfinally:\n    return {kept}",
    "and read again": "for _ in range(9):\n    with suppress(BaseException):\n        kept.append(next(numbers))",
    "and raise another": "try:\n    kept.extend(numbers)\nexcept:\n    raise ValueError('from a broken stream')",
    "and return nonsense": "try:\n    kept.extend(numbers)\nexcept:\n    return ['nonsense']",
}
FOLLOWING = {
    "the end": "",
    "an await for each item": awaiting("int", "bool"),
    "a step": STEP,
    "a step and an await": STEP + awaiting("int", "bool"),
}
SOURCE = """
from contextlib import suppress

done, cancelled = [], []

@pipeline.step
def spread(n: int) -> Iterator[int]:
    yield 1
{failure}

"""
RETURNS = """
@pipeline.step
def gather(numbers: Iterator[int]) -> list[int]:
    kept = []
{swallowing}
    return kept
"""
YIELDS = """
def collect(numbers):
    kept = []
{swallowing}
    return kept

@pipeline.step
def gather(numbers: Iterator[int]) -> Iterator[int]:
    kept = collect(numbers)
    yield from kept
"""
GATHERING = {"returns a list": RETURNS, "yields": YIELDS}


def pipeline_of(author: Author, failure: str, gathering: str, swallowing: str, following: str) -> Pipeline:
    body = GATHERING[gathering].format(swallowing=indent(SWALLOWING[swallowing].format(kept="kept"), "    "))
    return author.pipeline(
        SOURCE.format(failure=indent(FAILURES[failure][0], "    ")) + body + "\n" + FOLLOWING[following]
    )


def outcome_of(pipeline: Pipeline, context: StepContext) -> tuple[RunResult, list[Any]]:
    """Return the outcome of a run without checkpoints (lazy streams) and the checkpoints of a run with them."""
    kept: list[Any] = []
    authored = sys.modules["authored"]
    cancellable = dataclasses.replace(context, cancellation=lambda: bool(authored.cancelled))
    options: Any = {"context": lambda: cancellable, "is_cancelled": cancellable.cancellation}
    lazy = run(pipeline, 1, start=0, stop=-1, **options)
    authored.cancelled.clear()
    checked = run(pipeline, 1, start=0, stop=-1, keep=lambda *checkpoint: kept.append(checkpoint), **options)
    assert isinstance(checked, Failed), checked
    return lazy, kept


@cases(
    ("failure", "gathering", "swallowing", "following"),
    {
        *(
            ("an error", gathering, swallowing, "a step and an await")
            for gathering in GATHERING
            for swallowing in SWALLOWING
        ),
        *(("an error", gathering, "except", following) for gathering in GATHERING for following in FOLLOWING),
        *((failure, gathering, "except", "a step") for failure in FAILURES for gathering in GATHERING),
    },
)
def test_a_failure_that_a_step_swallows_is_the_outcome_whatever_follows(
    author: Author, context: StepContext, failure: str, gathering: str, swallowing: str, following: str
) -> None:
    outcome, kept = outcome_of(pipeline_of(author, failure, gathering, swallowing, following), context)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.failure_class, outcome.step_name) == (FAILURES[failure][1], "Spread")
    assert kept == []
    assert sys.modules["authored"].done == [], "code ran with partial data"


MAYBE = """
@pipeline.step
def find(n: int) -> int | None:
    return n or None

@pipeline.step
def show(n: int | None) -> str | None:
    return None if n is None else str(n)

@pipeline.step
def widen(text: str | None) -> str:
    return text or "nothing"

@pipeline.step
def end(text: str | int | None) -> str | None:
    return None if text == "nothing" else text
"""


@cases(
    ("start", "payload", "shape", "outputs"),
    [(0, 7, "UNI", ["7"]), (0, 0, "UNI", [None]), (1, None, "UNI", [None]), (0, [0, 2], "MULTI", [None, "2"])],
)
def test_a_result_may_be_none_if_the_hints_say_so(
    author: Author, context: StepContext, start: int, payload: Any, shape: Shape, outputs: list[Any]
) -> None:
    outcome = ran(author.pipeline(MAYBE), payload, context, start, shape)
    assert isinstance(outcome, Completed), outcome
    assert outcome.outputs == outputs


PASS_ON = """
@pipeline.step
def pass_on(numbers: Iterator[int]) -> Iterator[int]:
    try:
        yield from numbers
    except:
        pass
"""


@cases("following", [*FOLLOWING.values()])
def test_a_step_that_passes_items_on_swallows_no_failure(author: Author, context: StepContext, following: str) -> None:
    body = SOURCE.format(failure="    raise OSError('the disk is gone')")
    outcome, kept = outcome_of(author.pipeline(body + PASS_ON + following), context)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.failure_class, outcome.step_name, kept) == ("OSError", "Spread", [])
