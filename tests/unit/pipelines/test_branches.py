import re
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.authoring.compiler import compile_contract, declarations
from pipelines.failures import Failed
from pipelines.local_run import LocalRun, started
from pipelines.testing import context, run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import contract_from_json
from wire.documents.declarations import read, written
from wire.findings import DocumentError

FUNCTIONS = """
import time
from pipelines import branch
from typing import Literal

pipeline = Pipeline("org.acme.orders", checkpoint={})
calls = []
def double(n: int, context: StepContext) -> int:
    calls.append(context.idempotency_key)
    return 2 * n
async def maybe(n: int) -> str | None:
    return "<" + str(n) + ">" if n else None
def names(n: int) -> Iterator[str]:
    yield from ("name " + str(each) for each in range(n))
def first(order: Order) -> int:
    order.number += 1
    return order.number
def second(order: Order, context: StepContext) -> int:
    order.number += 1
    calls.append(context.last_heartbeat)
    context.heartbeat("second")
    if len(calls) < 3:
        raise OSError("busy")
    return order.number
def broken(n: int) -> int:
    raise ValueError("no " + str(n))
def stuck(n: int) -> int:
    time.sleep(0.6)
    return n
def route(n: int) -> Literal["even", "odd"]:
    return "odd" if n % 2 else "even"
def lost(n: int) -> Literal["even", "odd"]:
    return "neither"
def three(n: int) -> Literal["even", "odd", "prime"]:
    return "prime"
def is_large(n: int) -> bool:
    return n > 1
async def any_large(numbers: list[int]) -> bool:
    return max(numbers) > 1
"""


def joins(parameters: str) -> str:
    names = ", ".join(parameter.partition(":")[0] for parameter in parameters.split(", "))
    return f"@pipeline.step\ndef join({parameters}) -> str:\n    return repr([{names}])\n"


SPREAD = "@pipeline.step\ndef spread(n: int) -> list[int]:\n    return list(range(n))\n\n"
GATHER, CHOICE = "pipeline.gather(double, maybe, names)\n\n", "pipeline.choose(route, even=double, odd=maybe)\n"
JOIN = joins("names: list[str], double: int, maybe: str | None")
ASK = "pipeline.awaits('Ask', request={}, response=str, timeout=timedelta(hours=1), when={})\n\n"
ONE = ASK.format("int", "is_large") + joins("n: int, answer: str | None")
STREAM = SPREAD + ASK.format("list[int]", "any_large") + joins("n: list[int], answer: str | None")
RETRIED = "pipeline.gather(first, branch(second, retries=2, timeout=60), name='Both', parallel=1)\n"
ORDERS = "@pipeline.step\ndef orders(n: int) -> list[Order]:\n    return [Order(n)]\n\n"


@cases(
    ("body", "value", "results"),
    [
        (GATHER + JOIN, 2, ["[['name 0', 'name 1'], 4, '<2>']"]),
        (f"{GATHER}pipeline.timer('T', timedelta(1))\n{JOIN}", 0, ["[[], 0, None]"]),
        (SPREAD + GATHER + JOIN, 2, ["[[], 0, None]", "[['name 0'], 2, '<1>']"]),
        (f"{SPREAD}pipeline.gather(double, route)\n{joins('route: list[str], double: list[int]')}", 2,
            ["[['even', 'odd'], [0, 2]]"]),
        (RETRIED + joins("first: int, second: int"), {"number": 1}, ["[2, 2]"]),
        (f"{ORDERS}pipeline.step(parallel=1, retries=2)(second)\n", 1, [2]),
        (CHOICE, 3, ["<3>"]),
        (SPREAD + CHOICE, 3, [0, "<1>", 4]),
        (ONE, 1, ["[1, None]"]),
        (ONE, 2, ["[2, 'yes']"]),
        (STREAM, 2, ["[[0, 1], None]"]),
        (STREAM, 3, ["[[0, 1, 2], 'yes']"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("checkpoint", ["False", "True"])
def test_branches_and_conditions(author: Author, body: str, value: Any, results: list[Any], checkpoint: str) -> None:
    pipeline = author.pipeline(FUNCTIONS.format(checkpoint) + body)
    assert run(pipeline, value, answers={"Ask": "yes"} if "awaits" in body else {}).values == results


def test_the_contract_and_the_declarations_have_the_branches(author: Author) -> None:
    pipeline = author.pipeline(FUNCTIONS.format("False") + RETRIED)
    [both] = contract_from_json(compile_contract(pipeline)).normalised()["steps"]
    assert [branch["runtimeClass"] for branch in both["branching"]["branches"]] == ["authored.first", "authored.second"]
    assert (both["outputTypeId"], both["runtimeClass"]) == ("Both#branches", None)
    declared = {"steps": {"Both": {"parallel": 1, "branches": {"second": {"retries": 2, "timeoutSeconds": 60}}}}}
    assert declarations(pipeline) == declared == read(written(declared).encode())
    for wrong in ({}, {"second": {"parallel": 2}}, {"second": {"retries": -1}}):
        with pytest.raises(DocumentError, match="Both"):
            read(written({"steps": {"Both": {"branches": wrong}}}).encode())


@cases(
    ("body", "says", "code", "attempts"),
    [
        ("pipeline.gather(double, broken)\n", "branch broken: no 4", "ValueError", 2),
        ("pipeline.gather(double, branch(broken, retries=1))\n", r"branch broken \(tried 2 times\)", "ValueError", 1),
        ("pipeline.choose(lost, even=double, odd=maybe)\n", "not of type string", "INVALID_STEP_OUTPUT", 1),
        ("pipeline.gather(branch(stuck, timeout=0.2), double)\n", "branch stuck", "STEP_TIMEOUT", 2),
    ],
)
def test_a_failure_names_its_branch(author: Author, body: str, says: str, code: str, attempts: int) -> None:
    class Run(LocalRun):
        attempts = 1

        def retrying(self, *_: Any) -> None:
            self.attempts += 1

    local = Run(author.pipeline(FUNCTIONS.format("False") + body), retries=1, context=context())
    failed = local.run(started(local.pipeline, 4))
    assert isinstance(failed, Failed)
    assert (failed.failure_class, local.attempts) == (code, attempts)
    assert re.search(says, failed.message), failed.message


@cases(
    ("code", "says", "body"),
    [
        ("INVALID_BRANCHES", "1 branches; give 2 to 50", "pipeline.gather(double)\n"),
        ("INVALID_BRANCHES", "two branches with the name 'double'", "pipeline.gather(double, branch(double))\n"),
        ("NOT_A_FUNCTION", "not a str", "pipeline.gather(double, 'maybe')\n"),
        ("STEP_NOT_IMPORTABLE", "is a lambda", "pipeline.choose(route, even=double, odd=lambda n: n)\n"),
        ("INVALID_STEP_POLICY", "branch broken.*retries=-1", "pipeline.gather(double, branch(broken, retries=-1))\n"),
        ("INVALID_BRANCHES", "it never chooses: other", CHOICE.replace(")", ", other=double)")),
        ("INVALID_BRANCHES", "missing branches: prime", CHOICE.replace("route", "three")),
        ("INVALID_BRANCHES", "gives a list or stream", CHOICE.replace("maybe", "names")),
        ("TYPES_DO_NOT_CHAIN", "branch first takes authored.Order, but", "pipeline.gather(double, first)\n"),
        ("TYPES_DO_NOT_CHAIN", r"write \(double: integer, maybe", GATHER + joins("double: int")),
        ("TYPES_DO_NOT_CHAIN", r"names: list\[string\]", GATHER + joins("names: str, double: int, maybe: str | None")),
        ("INVALID_CONDITION", "and return bool", ONE.replace("is_large", "double")),
        ("INVALID_CONDITION", "an answer that may be None: string | None", ONE.replace("str | None", "str")),
        ("INVALID_CONDITION", r"request=list\[integer\]", SPREAD + ONE),
        ("INVALID_CONDITION", "may not ask", ONE.partition("@")[0]),
    ],
)  # fmt: skip
def test_a_mistake_has_advice(author: Author, code: str, says: str, body: str) -> None:
    with pytest.raises(DefinitionError, match=f"(?s){code}: .*({says})"):
        compile_contract(author.pipeline(FUNCTIONS.format("False") + body))
