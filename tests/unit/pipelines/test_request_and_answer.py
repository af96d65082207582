from typing import Any

import pytest

from pipelines.authoring.compiler import compile_contract
from pipelines.testing import run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import contract_from_json

AWAIT = "pipeline.awaits('Approve', request={}, response={}, timeout=timedelta(hours=1))\n"
SPREAD = "@pipeline.step\ndef spread(n: int) -> list[int]:\n    return list(range(n))\n\n"
SHIP = """
@pipeline.step
def ship({}) -> {}:
    return {}
"""
CASES: list[tuple[str, Any, str, str, Any, Any]] = [
    # before, input, the types of the await, what the step takes, the answers, the result
    ("", 4, "int, bool", "n: int, yes: bool", True, [(4, True)]),
    ("", 4, "int, list[str]", "n: int, texts: list[str]", ["a", "b"], [(4, ["a", "b"])]),
    (SPREAD, 2, "int, bool", "n: int, yes: bool", [True, False], [(0, True), (1, False)]),
    (SPREAD, 2, "int, bool", "ns: list[int], yes: Iterator[bool]", [True, False], [([0, 1], [True, False])]),
    (SPREAD, 0, "int, bool", "ns: list[int], yes: list[bool]", [], [([], [])]),
    (SPREAD, 2, "list[int], bool", "ns: Iterable[int], yes: bool", True, [([0, 1], True)]),
    (SPREAD, 2, "list[int], list[str]", "ns: list[int], texts: list[str]", ["x"], [([0, 1], ["x"])]),
    (SPREAD, 2, "list[int], list[str]", "ns: list[int], texts: list[str]", [], [([0, 1], [])]),
]


@cases(("before", "value", "types", "takes", "answers", "results"), CASES)
@pytest.mark.parametrize("context", ["", ", context: StepContext"])
def test_a_step_takes_the_request_with_the_answer(
    author: Author, before: str, value: Any, types: str, takes: str, answers: Any, results: Any, context: str
) -> None:
    request, response = types.split(", ")
    first, second = (each.partition(":")[0] for each in takes.split(", "))
    shown = [f"list({name})" if name in ("ns", "texts") or ("[bool]" in takes and name == "yes") else name
             for name in (first, second)]  # fmt: skip
    body = SHIP.format(takes + context, "str", f"repr(({', '.join(shown)}))")
    pipeline = author.pipeline(before + AWAIT.format(request, response) + body)
    assert run(pipeline, value, answers={"Approve": answers}, retries=1).values == [repr(each) for each in results]
    contract = contract_from_json(compile_contract(pipeline))
    assert [step.takes_request for step in contract.steps][-2:] == [False, True]
    assert contract.steps[-1].input_type_id == "Approve#request-and-answer"
    is_stream = bool(before) and "list" not in takes and "Iter" not in takes
    assert contract.result_shape == ("MATERIALIZED_MULTI" if is_stream else "SINGLE")


def test_the_contract_describes_both_and_contracts_of_others_say_nothing(author: Author) -> None:
    both, alone = (
        compile_contract(author.pipeline(AWAIT.format("Order", "list[Receipt]") + SHIP.format(takes, "int", "1")))
        for takes in ("order: Order, receipts: list[Receipt]", "receipts: list[Receipt]")
    )
    fields = both["canonicalTypes"]["Approve#request-and-answer"]["definition"]["fields"]
    expected = [("answer", "authored.Receipt", True), ("request", "authored.Order", None)]
    assert [(each["name"], each["type"]["id"], each.get("repeated")) for each in fields] == expected
    assert both["contractHash"] != alone["contractHash"]
    assert "takesRequest" not in str(alone) + str(contract_from_json(alone).normalised())
    assert contract_from_json(both).normalised()["steps"][1]["takesRequest"] is True
