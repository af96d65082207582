import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipelines import Cancelled, DefinitionError, Pipeline, StepContext
from pipelines.authoring.compiler import compile_contract, contract_text
from pipelines.release.descriptor import release
from pipelines.release.packaging import BuiltArtifact
from pipelines.testing import RunFailed, after, assert_compatible, context, never, run
from tests.unit.pipelines.conftest import STEP, Author

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class Line:
    sku: str
    price: Decimal


calls: list[str] = []
orders = Pipeline("tests.orders", checkpoint=True)


@orders.step
def read(texts: Iterable[str]) -> Iterator[Line]:
    calls.append("read")
    for text in texts:
        sku, price = text.split("=")
        yield Line(sku, Decimal(price))


orders.awaits("Approve line", request=Line, response=bool, timeout=DAY, group="finance")
orders.timer("Cool off", HOUR)


@orders.step
def count(approved: list[bool], context: StepContext) -> int:
    calls.append(context.idempotency_key)
    if len(approved) > context.attempt + 1:
        raise OSError("busy")
    return sum(approved)


@orders.step
def settle(number: int) -> Decimal:
    calls.append("settle")
    if number == 0:
        raise KeyboardInterrupt
    return Decimal(number) / 3 if number > 1 else number  # type: ignore[return-value]


LINES = ["tea=10", "cup=5"]


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


def test_a_retry_resumes_at_the_failed_step_and_questions_of_a_stream_are_asked_once() -> None:
    passed: list[timedelta] = []
    result = run(
        orders, LINES, answers={"Approve line": [True, after(HOUR, True)]}, retries=1, now=NOON, advance=passed.append
    )
    assert (result.value, result.attempts) == (Decimal(2) / 3, 2)
    assert result.steps == ("Read", "Count", "Count", "Settle")
    assert calls == ["read", *[f"{context().execution_id}:3"] * 2, "settle"]
    asked = [
        (question.request, question.answer, question.item_index, question.group, question.deadline)
        for question in result.questions
    ]
    assert asked == [
        (Line("tea", Decimal(10)), True, 0, "finance", NOON + DAY),
        (Line("cup", Decimal(5)), True, 1, "finance", NOON + DAY),
    ]
    assert (passed, result.finished_at) == ([HOUR, HOUR], NOON + 2 * HOUR)


@pytest.mark.parametrize(
    ("given", "options", "error", "text"),
    [
        (["tea"], {}, ValueError, "not enough values"),
        (LINES, {"answers": {"Approve line": lambda line: line.price > 5}}, OSError, "busy"),
        (LINES, {"answers": {"Approve line": True}}, OSError, "busy"),
        (["a=1"], {"answers": {"Approve line": True}}, RunFailed, "INVALID_STEP_OUTPUT: step \"Settle\""),
        (["a=1"], {"answers": {"Approve line": never}}, RunFailed, "AWAIT_TIMEOUT: step \"Approve line\""),
        (["a=1"], {"answers": {"Approve line": after(DAY, True)}}, RunFailed, "AWAIT_TIMEOUT"),
        (["a=1"], {"context": context(cancelled=True)}, Cancelled, "no longer counts"),
    ],
)  # fmt: skip
def test_errors_have_the_authors_frames(given: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        run(orders, given, **options)
    files = [frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert [file.rpartition("/")[2] for file in files[:2]] == ["test_testing.py", "running.py"]
    assert set(files[2:]) <= {__file__}
    failed = run(orders, given, **options, raises=False)
    assert (type(failed.error), failed.values) == (error, [])
    with pytest.raises(error, match=text):
        _ = failed.value


@pytest.mark.parametrize(
    ("given", "answers", "text"),
    [
        ("tea=10", {}, "INVALID_INPUT: the input is not a list of string: it is one str; give a list"),
        (["tea=10", 3], {}, "INVALID_INPUT: the input is not a list of string: .1.: Input"),
        (LINES, {}, 'ANSWER_MISSING: "Approve line" waits for boolean; add'),
        (LINES, {"Aprove line": True}, 'UNKNOWN_AWAIT: answers has "Aprove line".* its questions: "Approve line"'),
        (LINES, {"Approve line": "yes"}, 'INVALID_ANSWER: the answer to "Approve line" is not of type boolean'),
        (LINES, {"Approve line": [True]}, 'INVALID_ANSWER: "Approve line" asks 2 questions, but has 1 answers'),
    ],
)
def test_a_mistake_of_the_test_says_what_to_write(given: Any, answers: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        run(orders, given, answers=answers, raises=False)


def test_ctrl_c_ends_a_run_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(orders, ["a=1"], answers={"Approve line": False}, retries=5, raises=False)
    assert calls.count("settle") == 1


def test_a_step_is_called_as_a_function() -> None:
    assert count([True], context(attempt=2, step_index=1)) == 1
    assert list(read(["a=1"])) == [Line("a", Decimal(1))]


def test_a_pipeline_is_compared_with_a_released_contract(author: Author, built: BuiltArtifact) -> None:
    descriptor = release(built.path.parent).path
    same = author.pipeline(STEP)
    contract = compile_contract(same)
    (file := author.folder / "released.json").write_text(contract_text(contract))
    other = author.pipeline(STEP.replace("Receipt(1)", "Receipt(1, 2)").replace("Order)", "Receipt)"))
    for released in (descriptor, str(descriptor.parent), built.path, file, contract):
        assert_compatible(released, same)
        with pytest.raises(AssertionError, match=r"(?s)\nbreaking-for-callers: removed .*\n1 breaking"):
            assert_compatible(released, other)
    for wrong in (author.folder / "missing.json", author.write("wrong.json", "{}")):
        with pytest.raises(DefinitionError, match=str(wrong)):
            assert_compatible(wrong, same)
