"""The checkpoints that a transition stores. A run that resumes at any of them has the same result."""

from typing import Any

import pytest

from pipelines import Pipeline, StepContext
from pipelines.failures import Failed
from pipelines.worker.runner import Completed, run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author

STEPS = """
@pipeline.step
def order(n: int) -> Order:
    return Order(n, Decimal("10.50"))

@pipeline.step
def lines(order: Order) -> Iterator[Order]:
    for number in range(order.number):
        yield Order(number, order.total)

@pipeline.step
def ship(order: Order) -> Receipt:
    return Receipt(order.number, str(order.total))

@pipeline.step
def join(receipts: list[Receipt]) -> Receipt:
    return Receipt(len(receipts), ", ".join(each.note for each in receipts))

@pipeline.step
def show(receipt: Receipt) -> str:
    return f"{receipt.number}: {receipt.note}"
"""


@pytest.fixture
def pipeline(author: Author) -> Pipeline:
    return author.pipeline(STEPS)


def kept_by(pipeline: Pipeline, payload: Any, context: StepContext, *, stop: int = -1) -> list[tuple[int, Any, bool]]:
    kept: list[tuple[int, Any, bool]] = []
    run(pipeline, payload, start=0, stop=stop, context=context, keep=lambda *each: kept.append(each))
    return kept


def test_each_step_except_the_last_has_a_checkpoint_of_its_output(pipeline: Pipeline, context: StepContext) -> None:
    total = "10.50"
    expected = [
        (1, [{"number": 2, "total": total}], False),
        (2, [{"number": 0, "total": total}, {"number": 1, "total": total}], True),
        (3, [{"number": 0, "note": total}, {"number": 1, "note": total}], True),
        (4, [{"number": 2, "note": "10.50, 10.50"}], False),
    ]
    assert kept_by(pipeline, 2, context) == expected
    for stop in (1, 2, 3, 4):
        assert kept_by(pipeline, 2, context, stop=stop) == expected[: stop - 1], "and none where the transition stops"


@cases("lines", [0, 1])
def test_a_run_that_resumes_at_any_checkpoint_has_the_same_result(
    pipeline: Pipeline, context: StepContext, lines: int
) -> None:
    """A stream remains a stream, even with one item or none."""
    uninterrupted = run(pipeline, lines, start=0, stop=-1, context=context)
    assert isinstance(uninterrupted, Completed)
    for index, outputs, many in kept_by(pipeline, lines, context):
        payload, shape = (outputs, "MULTI") if many else (outputs[0], "UNI")
        resumed = run(pipeline, payload, start=index, stop=-1, context=context, shape=shape)  # type: ignore[arg-type]
        assert resumed == uninterrupted, index


@cases("error", [OSError("broker away"), SystemExit(1)])
def test_a_checkpoint_that_cannot_be_stored_fails_the_transition_without_naming_a_step(
    pipeline: Pipeline, context: StepContext, error: BaseException
) -> None:
    def keep(*_: Any) -> None:
        raise error

    failed = run(pipeline, 2, start=0, stop=-1, context=context, keep=keep)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.retryable, failed.step_index) == (type(error).__name__, True, None)
