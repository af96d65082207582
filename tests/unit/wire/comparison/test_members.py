"""Each member of contracts and declarations is compared and judged. A new member fails here until it is."""

from dataclasses import fields, replace
from functools import reduce
from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import contract, facts, field, record, step
from wire.comparison.comparison import compare
from wire.comparison.differences import Difference, ReleaseFacts
from wire.documents import concurrency, declarations, step_policy
from wire.documents.contract import Capabilities, Contract, Step

CALLERS, PARKED, UNKNOWN, COMPATIBLE = "breaking-for-callers", "breaking-for-parked-work", "unknown", "compatible"
QUESTION = {"kind": "await", "awaitTransport": "interaction-api"}
TYPES = {"Wide": record(field("id"), field("more"))}
PARTS: dict[str, Any] = {"definitionId": "p", "inputContractId": "o", "outputContractId": "o"}
NODE = {"index": 0, "nodeId": "n", "kind": "step", "inputContractId": "o", "outputContractId": "o", "terminal": True}
NODE["cardinality"] = "ONE_TO_ONE"
BRANCHES = {"kind": "gather", "branches": [{"name": "a"}, {"name": "b"}]}


def composition(fingerprint: str) -> dict[str, Any]:
    ends = [{"nodeId": "n", "kind": "END"}]
    definition = {**PARTS, "definitionFingerprint": fingerprint, "nodes": [NODE], "continuations": ends}
    return {"rootDefinitionId": "p", "definitions": [definition]}


STEPS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "authoredName": ({}, {"authoredName": "Other"}, PARKED),
    "kind": ({}, QUESTION, PARKED),
    "cardinality": ({}, {"cardinality": "ONE_TO_MANY"}, CALLERS),
    "inputTypeId": ({}, {"inputTypeId": "Wide"}, PARKED),
    "outputTypeId": ({}, {"outputTypeId": "Wide"}, PARKED),
    "runtimeClass": ({}, {"runtimeClass": "x:y"}, COMPATIBLE),
    "clientClass": ({}, {"clientClass": "x:y"}, COMPATIBLE),
    "awaitTransport": (QUESTION, {"awaitTransport": "webhook"}, PARKED),
    "deferredCompletion": ({}, {"deferredCompletion": {"kind": "x"}}, PARKED),
    "takesRequest": ({}, {"takesRequest": True}, PARKED),
    "branching": ({}, {"branching": BRANCHES}, COMPATIBLE),
    "condition": (QUESTION, {"condition": "m:is_large"}, COMPATIBLE),
    "callsPipeline": (QUESTION, {"callsPipeline": "other"}, PARKED),
    "callsRelease": (QUESTION, {"callsRelease": "1.0"}, UNKNOWN),
}
"""What the second of three steps has, what it has in the newer release, and how that is judged."""
OTHERS: dict[str, tuple[Any, str]] = {
    "platform": ("python", UNKNOWN),
    "transport": ("grpc", UNKNOWN),
    "module": ("other", UNKNOWN),
    "pluginHost": (True, UNKNOWN),
    "runtimeLayout": ("flat", UNKNOWN),
    "steps": ([], PARKED),
    "capabilities": ({"localTransitionExecution": True}, COMPATIBLE),
    "canonicalTypes": ({"Order": {"definition": {"id": "Order", **record()}}}, CALLERS),
    "composition": (composition("f"), PARKED),
    "importedDefinitions": ([{"a": 1}], UNKNOWN),
    "capabilityImports": ([{"a": 1}], UNKNOWN),
}
"""Members of a contract."""
IDENTITY = {"schemaVersion", "pipelineId", "contractVersion", "contractHash", "canonicalCatalogFingerprint", "index"}
DECLARED: dict[str, tuple[Any, Any, str, str]] = {
    'concurrency["limit"]': (5, 6, "policy", COMPATIBLE),
    'concurrency["rate"].limit': (5, 6, "policy", COMPATIBLE),
    'concurrency["rate"].seconds': (5, 6, "policy", COMPATIBLE),
    'concurrency["debounceSeconds"]': ("", 6, "policy", UNKNOWN),
    'concurrency["key"]': ("id", "other", "policy", COMPATIBLE),
    'concurrency["whenFull"]': ("queue", "refuse", "policy", UNKNOWN),
    'config["REGION"]': ("text", "integer", "capability", COMPATIBLE),
    'search["customer"]': ("id", "other", "policy", UNKNOWN),
    'secrets["KEY"]': ("text", "", "capability", COMPATIBLE),
    'steps["A"].retries': (1, 2, "policy", COMPATIBLE),
    'steps["A"].delaySeconds': (1, 2, "policy", COMPATIBLE),
    'steps["A"].multiplier': (1, 2, "policy", COMPATIBLE),
    'steps["A"].maxDelaySeconds': (1, 2, "policy", COMPATIBLE),
    'steps["A"].timeoutSeconds': (1, 2, "policy", COMPATIBLE),
    'steps["A"].jitter': (True, False, "policy", COMPATIBLE),
    'steps["A"].retryOn': (["a.B"], ["a.C"], "policy", COMPATIBLE),
    'steps["A"].giveUpOn': (["a.B"], ["a.C"], "policy", COMPATIBLE),
    'steps["A"].parallel': (1, 2, "policy", COMPATIBLE),
    'steps["A"].onItemFailure': ("collect", "", "policy", COMPATIBLE),
    'steps["A"].branches.a.retries': (1, 2, "policy", COMPATIBLE),
    'types["A"].fields.amount.title': ("Sum", "Total", "policy", COMPATIBLE),
}
"""Declared values: before, after, the area, and how that is judged. "" is no value."""
FACTS = {"descriptor", "contract", "environments", "checkpoints", "declarations", "signers", "provenance", "packages"}
"""Which `test_differences` changes, or this module."""


def release(*, second: dict[str, Any] | None = None, **members: Any) -> ReleaseFacts:
    steps = [step("Ask", **QUESTION), step("A", **(second or {})), step("Z")]
    document = contract(types=TYPES, schemaVersion=3).normalised()
    return facts(Contract.model_validate({**document, "steps": steps, **members}))


def declaring(position: int) -> ReleaseFacts:
    document: dict[str, Any] = {}
    for path, row in DECLARED.items():
        *parents, last = path.replace('["', ".").replace('"]', "").split(".")
        if row[position] != "":
            reduce(lambda place, name: place.setdefault(name, {}), parents, document)[last] = row[position]
    return replace(facts(None), declarations=document)


def harm(differences: tuple[Difference, ...]) -> str:
    assert all(difference.reason.endswith(".") for difference in differences)
    return differences[0].impact.value if differences else ""


def test_the_tables_have_every_member() -> None:
    aliases = [{member.alias for member in model.model_fields.values()} for model in (Step, Contract)]
    assert [set(STEPS), set(OTHERS)] == [names - IDENTITY for names in aliases]
    assert set(Capabilities.model_fields) == {"local_transition_execution", "transition_worker_protocols"}
    assert {path.partition("[")[0] for path in DECLARED} == set(declarations.MEMBERS)
    assert {path.split(".")[1] for path in DECLARED if path.startswith("steps")} == set(step_policy.MEMBERS)
    assert {path.split('"')[1] for path in DECLARED if path.startswith("conc")} == concurrency.MEMBERS
    assert {member.name for member in fields(ReleaseFacts)} == FACTS


@cases("member", STEPS)
def test_a_member_of_a_step_is_judged(member: str) -> None:
    before, after, expected = STEPS[member]
    differences = compare(release(second=before), release(second={**before, **after}))
    assert (harm(differences), differences == ()) == (expected, False)


@cases("member", OTHERS)
def test_a_member_of_a_contract_is_judged(member: str) -> None:
    value, expected = OTHERS[member]
    assert harm(compare(release(), release(**{member: value}))) == expected


def test_declared_values_are_judged() -> None:
    differences = compare(declaring(0), declaring(1))
    judged = {difference.path: (difference.area.value, difference.impact.value) for difference in differences}
    assert judged == {path: row[2:] for path, row in DECLARED.items()}
    added = compare(replace(facts(None), declarations={}), declaring(0))
    assert {difference.path: difference.impact.value for difference in added} == {
        path: COMPATIBLE for path, row in DECLARED.items() if row[0] != ""
    }
    newer = [replace(facts(None), declarations={"newer": {"a": value}}) for value in (1, 2)]
    assert harm(compare(*newer)) == UNKNOWN


def test_declarations_that_are_not_known_cannot_be_compared() -> None:
    [difference] = compare(facts(None), declaring(0))
    assert (difference.path, difference.impact.value) == ("declarations", UNKNOWN)
    assert compare(facts(None), replace(facts(None), declarations={})) == ()
