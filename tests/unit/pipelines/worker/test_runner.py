"""One transition: cardinalities, streams, awaits, failures."""

import dataclasses
import sys
from typing import Any, Literal

import pytest

from pipelines import Cancelled, Pipeline, StepContext
from pipelines.failures import Failed
from pipelines.worker.runner import Completed, Suspended, run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author

CARDINALITIES = """
log = []

@pipeline.step
def double(n: int) -> int:
    log.append(f"double {n}")
    return 2 * n

@pipeline.step
def spread(n: int) -> Iterator[int]:
    for i in range(n):
        yield i

@pipeline.step
def odd(numbers: Iterable[int]) -> Iterator[int]:
    return (n for n in numbers if n % 2)

@pipeline.step
def add(numbers: list[int]) -> int:
    return sum(numbers)

@pipeline.step
def show(n: int) -> str:
    return f"<{n}>"
"""


@pytest.fixture
def numbers(author: Author) -> Pipeline:
    return author.pipeline(CARDINALITIES)


@cases(
    ("payload", "shape", "start", "stop", "outputs", "many"),
    [
        (3, "UNI", 0, -1, ["<9>"], False),
        (3, "UNI", 0, 5, ["<9>"], False),
        (3, "UNI", 0, 0, [3], False),
        (3, "UNI", 0, 1, [6], False),
        (3, "UNI", 0, 2, [0, 1, 2, 3, 4, 5], True),
        (3, "UNI", 0, 3, [1, 3, 5], True),
        (3, "UNI", 0, 4, [9], False),
        ([3, 1], "MULTI", 0, 1, [6, 2], True),
        ([3, 1], "MULTI", 0, 2, [0, 1, 2, 3, 4, 5, 0, 1], True),
        ([2, 3], "MULTI", 1, 2, [0, 1, 0, 1, 2], True),
        ([1, 2, 3], "MULTI", 2, -1, ["<4>"], False),
        ([1, 2, 3], "MULTI", 3, 4, [6], False),
        ([1, 2, 3], "MULTI", 4, -1, ["<1>", "<2>", "<3>"], True),
        ([], "MULTI", 0, 3, [], True),
        ([], "MULTI", 3, 4, [0], False),
        ([], "MULTI", 4, -1, [], True),
        (5, "UNI", 2, 3, [5], True),
        (5, "UNI", 3, 4, [5], False),
        ("done", "UNI", 5, -1, ["done"], False),
        (["a", "b"], "MULTI", 5, 5, ["a", "b"], True),
        ([4, 5], "MULTI", 2, 2, [4, 5], True),
    ],
)
def test_cardinalities_fold_over_one_and_many(
    numbers: Pipeline,
    context: StepContext,
    payload: Any,
    shape: Literal["UNI", "MULTI"],
    start: int,
    stop: int,
    outputs: list[Any],
    many: bool,
) -> None:
    assert run(numbers, payload, start=start, stop=stop, context=context, shape=shape) == Completed(outputs, many)


@cases(("start", "stop"), [(-1, -1), (6, -1), (0, 6), (2, 1), (0, -2)])
def test_indexes_outside_of_the_pipeline_are_the_callers_mistake(
    numbers: Pipeline, context: StepContext, start: int, stop: int
) -> None:
    with pytest.raises(ValueError, match="of a pipeline of 5"):
        run(numbers, 1, start=start, stop=stop, context=context)


@cases(
    ("payload", "shape", "says"),
    [
        ("3", "UNI", 'step "Double": the input is not of type integer: Input should be a valid integer'),
        (None, "UNI", "the input is not of type integer"),
        ([3], "UNI", "the input is not of type integer"),
        (3, "MULTI", "the input is not a list of items"),
        (None, "MULTI", "the input is not a list of items"),
        ([1, "2"], "MULTI", "item 1: the input is not of type integer"),
    ],
)
def test_an_undecodable_payload_is_final_and_runs_nothing(
    numbers: Pipeline, context: StepContext, payload: Any, shape: Literal["UNI", "MULTI"], says: str
) -> None:
    failed = run(numbers, payload, start=0, stop=-1, context=context, shape=shape)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.retryable, failed.step_index) == ("UNDECODABLE_PAYLOAD", False, 0)
    assert says in failed.message
    assert numbers.parts[0].function.__globals__["log"] == []  # type: ignore[union-attr]


FAILING = [
    # body of the step, failure class, message, retryable
    ("raise ValueError('bad')", "ValueError", 'step "Ship": bad', True),
    ("raise ValueError", "ValueError", 'step "Ship": no message', True),
    ("raise NonRetryable('never')", "pipelines.errors.NonRetryable", 'step "Ship": never', False),
    ("raise Closed('shut')", "authored.Closed", 'step "Ship": shut', False),
    ("raise ValueError('bad') from Closed('shut')", "authored.Closed", 'step "Ship": shut', False),
    ("import sys; sys.exit(4)", "SystemExit", 'step "Ship": 4', True),
    ("return None", "INVALID_STEP_OUTPUT", "returned a value that is not of type authored.Receipt: ", False),
    ("return Receipt('x')", "INVALID_STEP_OUTPUT", "number: Input should be a valid integer", False),
    ("return Receipt(1, 'a\\0')", "INVALID_STEP_OUTPUT", "note: the text contains a NUL character", False),
    ("return order", "INVALID_STEP_OUTPUT", "authored.Receipt", False),
    ("raise ValueError('a\\0b\\ud800')", "ValueError", 'step "Ship": a\ufffdb\ufffd', True),
]


@cases(("body", "failure_class", "message", "retryable"), FAILING)
def test_an_exception_or_a_wrong_value_of_a_step_is_a_failure(
    author: Author, context: StepContext, body: str, failure_class: str, message: str, retryable: bool
) -> None:
    pipeline = author.pipeline(
        f"class Closed(NonRetryable): ...\n@pipeline.step\ndef ship(order: Order) -> Receipt:\n    {body}\n"
    )
    failed = run(pipeline, {"number": 1}, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.retryable) == (failure_class, retryable)
    assert (failed.step_index, failed.step_name) == (0, "Ship")
    assert message in failed.message


def test_a_message_is_bounded(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline("@pipeline.step\ndef ship(n: int) -> int:\n    raise ValueError('x' * 10_000)")
    failed = run(pipeline, 1, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert len(failed.message) == 512


@cases("returned", ["None", "'text'", "{}", "5", "b'bytes'"])
def test_many_must_be_an_iterable_of_items(author: Author, context: StepContext, returned: str) -> None:
    pipeline = author.pipeline(f"@pipeline.step\ndef spread(n: int) -> Iterable[str]:\n    return {returned}")
    failed = run(pipeline, 1, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.retryable) == ("INVALID_STEP_OUTPUT", False)


@cases("catch", ["except Exception: pass", "except: pass"])
def test_a_later_step_cannot_swallow_the_failure_of_an_earlier_one(
    author: Author, context: StepContext, catch: str
) -> None:
    pipeline = author.pipeline(
        f"""
        done = []

        @pipeline.step
        def spread(n: int) -> Iterator[int]:
            yield 1
            raise OSError("the disk is gone")

        @pipeline.step
        def add(numbers: Iterable[int]) -> int:
            total = 0
            try:
                for number in numbers:
                    total += number
            {catch}
            return total

        @pipeline.step
        def send(total: int) -> int:
            done.append(total)
            return total
        """
    )
    failed = run(pipeline, 1, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.step_name, failed.retryable) == ("OSError", "Spread", True)
    assert pipeline.parts[0].function.__globals__["done"] == []  # type: ignore[union-attr]


def test_streams_are_lazy(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline(
        """
        @pipeline.step
        def count(n: int) -> Iterator[int]:
            while True:
                yield n
                n += 1

        @pipeline.step
        def square(n: int) -> int:
            return n * n

        @pipeline.step
        def first(numbers: Iterable[int]) -> list[int]:
            return [number for number, _ in zip(numbers, range(3))]
        """
    )
    assert run(pipeline, 1, start=0, stop=-1, context=context) == Completed([1, 4, 9], many=True)


def test_a_step_receives_the_value_as_read_from_json(author: Author, context: StepContext) -> None:
    """So it does not matter whether two steps run in one transition or in two."""
    pipeline = author.pipeline(
        """
        kept = Receipt(1)

        @pipeline.step
        def ship(order: Order) -> Receipt:
            return kept

        @pipeline.step
        def stamp(receipt: Receipt) -> bool:
            return receipt is kept
        """
    )
    assert run(pipeline, {"number": 1}, start=0, stop=-1, context=context) == Completed([False], many=False)


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
    assert run(pipeline, 2, start=0, stop=-1, context=context) == Completed(
        ["e-1 2 e-1:0:2 Look | e-1:1:item=0", "e-1 2 e-1:0:2 Look | e-1:1:item=1", "e-1:2"], many=True
    )


AWAITING = """
@pipeline.step
def spread(n: int) -> Iterator[int]:
    yield from range(n)

pipeline.awaits("Approve", request={request}, response={response}, timeout=timedelta(hours=1), assignee="eva")

@pipeline.step
def show({parameter}) -> str:
    return repr({name})
"""


@cases(
    ("request_hint", "response", "payload", "requests", "itemized"),
    [
        ("int", "bool", 2, [0, 1], True),
        ("list[int]", "bool", 2, [[0, 1]], False),
        ("list[int]", "list[bool]", 0, [[]], False),
    ],
)
def test_an_await_suspends_with_its_requests(
    author: Author,
    context: StepContext,
    request_hint: str,
    response: str,
    payload: int,
    requests: list[Any],
    itemized: bool,
) -> None:
    body = AWAITING.format(request=request_hint, response=response, parameter="answer: bool", name="answer")
    suspended = run(author.pipeline(body), payload, start=0, stop=-1, context=context)
    assert isinstance(suspended, Suspended)
    assert (suspended.step_index, suspended.requests, suspended.itemized) == (1, requests, itemized)
    assert suspended.step.waits is not None
    assert (suspended.step.waits.step_id, suspended.step.waits.assignee) == ("ProcessApproveService", "eva")


def test_an_await_on_one_value_has_one_request(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline("pipeline.awaits('Approve', request=int, response=bool, timeout=timedelta(hours=1))")
    suspended = run(pipeline, 4, start=0, stop=-1, context=context)
    assert isinstance(suspended, Suspended)
    assert (suspended.step_index, suspended.requests, suspended.itemized) == (0, [4], False)


def test_an_await_per_item_over_an_empty_stream_has_no_request(author: Author, context: StepContext) -> None:
    body = AWAITING.format(request="int", response="bool", parameter="answers: list[bool]", name="answers")
    assert run(author.pipeline(body), 0, start=0, stop=-1, context=context) == Completed(["[]"], many=False)


@cases(
    ("body", "payload", "requests", "cardinality"),
    [
        ("pipeline.timer('Cool off', timedelta(1), of=int)", 4, [4], "ONE_TO_ONE"),
        ("pipeline.timer('Cool off', timedelta(1), of=list[int])", 4, [[4]], "MANY_TO_MANY"),
        (
            "@pipeline.step\ndef double(n: int) -> int: return n * 2\npipeline.timer('Cool off', timedelta(1))",
            4,
            [8],
            "ONE_TO_ONE",
        ),
        (
            "@pipeline.step\ndef spread(n: int) -> Iterator[int]: yield from range(n)\n"
            "@pipeline.step\ndef double(n: int) -> int: return n * 2\n"
            "pipeline.timer('Cool off', timedelta(1))",
            3,
            [[0, 2, 4]],
            "MANY_TO_MANY",
        ),
    ],
)
def test_a_timer_suspends_once_with_its_whole_input(
    author: Author, context: StepContext, body: str, payload: int, requests: list[Any], cardinality: str
) -> None:
    suspended = run(author.pipeline(body), payload, start=0, stop=-1, context=context)
    assert isinstance(suspended, Suspended)
    assert (suspended.requests, suspended.itemized, suspended.step.cardinality) == (requests, False, cardinality)


def test_a_failure_before_an_await_causes_no_suspension(author: Author, context: StepContext) -> None:
    body = AWAITING.format(request="int", response="bool", parameter="answer: bool", name="answer")
    pipeline = author.pipeline(body.replace("yield from range(n)", "yield 1; raise OSError('gone')"))
    assert isinstance(run(pipeline, 1, start=0, stop=-1, context=context), Failed)


@cases(("payload", "shape", "outputs"), [(True, "UNI", ["True"]), ([True, False], "MULTI", ["True", "False"])])
def test_a_run_resumes_after_an_await_with_the_response(
    author: Author, context: StepContext, payload: Any, shape: Literal["UNI", "MULTI"], outputs: list[str]
) -> None:
    body = AWAITING.format(request="int", response="bool", parameter="answer: bool", name="answer")
    outcome = run(author.pipeline(body), payload, start=2, stop=-1, context=context, shape=shape)
    assert outcome == Completed(outputs, many=shape == "MULTI")


def test_a_response_of_another_type_is_undecodable(author: Author, context: StepContext) -> None:
    pipeline = author.pipeline("pipeline.awaits('Approve', request=int, response=bool, timeout=timedelta(hours=1))")
    failed = run(pipeline, "yes", start=1, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.step_name) == ("UNDECODABLE_PAYLOAD", "Approve")


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


def test_a_step_can_ask_whether_it_is_cancelled_and_the_next_one_does_not_begin(
    author: Author, context: StepContext
) -> None:
    pipeline = author.pipeline(CANCELLED_ON_THE_WAY)
    log = sys.modules["authored"].log
    cancellable = dataclasses.replace(context, cancellation=lambda: "cancelled now" in log)
    outcome = run(pipeline, 1, start=0, stop=-1, context=cancellable)
    assert isinstance(outcome, Failed)
    assert (outcome.failure_class, outcome.step_name) == ("pipelines.errors.Cancelled", "Second")
    assert log == [False, "cancelled now", True]


def test_a_context_is_not_cancelled_by_default(context: StepContext) -> None:
    assert not context.cancelled
    context.raise_if_cancelled()
    cancelled = dataclasses.replace(context, cancellation=lambda: True)
    with pytest.raises(Cancelled):
        cancelled.raise_if_cancelled()
    assert cancelled == context
