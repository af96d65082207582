from typing import Any

import pytest

from pipelines.authoring.compiler import compile_contract
from pipelines.testing import run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import contract_from_json

SPREAD = "@pipeline.step\ndef spread(n: int) -> list[int]:\n    return list(range(n))\n\n"
ASK = """
pipeline.awaits('Approve', request={}, response={}, timeout=timedelta(hours=1))

@pipeline.step
def ship(a: {}, b: {}{}) -> str:
    return repr([list(each) if isinstance(each, Iterable) else each for each in (a, b)])
"""
CASES: list[tuple[str, int, str, str, Any, list[Any]]] = [
    # before, input, the types of the await, those that the step takes, the answers, the results
    ("", 4, "int, bool", "int, bool", True, [[4, True]]),
    ("", 4, "int, list[str]", "int, list[str]", ["a", "b"], [[4, ["a", "b"]]]),
    (SPREAD, 2, "int, bool", "int, bool", [True, False], [[0, True], [1, False]]),
    (SPREAD, 2, "int, bool", "list[int], Iterator[bool]", [True, False], [[[0, 1], [True, False]]]),
    (SPREAD, 0, "int, bool", "list[int], list[bool]", [], [[[], []]]),
    (SPREAD, 2, "list[int], bool", "Iterable[int], bool", True, [[[0, 1], True]]),
    (SPREAD, 2, "list[int], list[str]", "list[int], list[str]", ["x"], [[[0, 1], ["x"]]]),
]


@cases(("before", "value", "asked", "taken", "answers", "results"), CASES)
@pytest.mark.parametrize("context", ["", ", context: StepContext"])
def test_a_step_takes_the_request_with_the_answer(
    author: Author, before: str, value: int, asked: str, taken: str, answers: Any, results: Any, context: str
) -> None:
    pipeline = author.pipeline(before + ASK.format(*asked.split(", "), *taken.split(", "), context))
    assert run(pipeline, value, answers={"Approve": answers}).values == [repr(result) for result in results]
    contract = contract_from_json(compile_contract(pipeline))
    assert [step.takes_request for step in contract.steps][-2:] == [None, True]
    assert contract.steps[-1].input_type_id == "Approve#request-and-answer"
    is_stream = bool(before) and taken == "int, bool"
    assert contract.result_shape == ("MATERIALIZED_MULTI" if is_stream else "SINGLE")
