"""The contracts that are accepted, and their defaults (wire protocol A.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wire.documents.contract import Contract, contract_from_json, parse_contract

MINIMAL = {"schemaVersion": 1, "pipelineId": "p", "contractVersion": "v1", "contractHash": "opaque"}
DEFAULTS: dict[str, Any] = {
    "platform": None,
    "transport": None,
    "module": None,
    "pluginHost": False,
    "runtimeLayout": None,
    "steps": [],
    "capabilities": {
        "localTransitionExecution": True,
        "transitionWorkerProtocols": ["local", "rest", "grpc", "sqs"],
    },
    "canonicalTypes": {},
    "canonicalCatalogFingerprint": "",
    "composition": {"rootDefinitionId": "", "definitions": []},
}
STEP_DEFAULTS: dict[str, Any] = {
    "index": 0,
    "authoredName": None,
    "kind": "internal",
    "cardinality": None,
    "inputTypeId": None,
    "outputTypeId": None,
    "runtimeClass": None,
    "clientClass": None,
    "awaitTransport": None,
}


def parse(**members: Any) -> Contract:
    return parse_contract(json.dumps({**MINIMAL, **members}).encode())


def test_absent_members_read_as_their_defaults() -> None:
    assert parse().normalised() == {**MINIMAL, **DEFAULTS}


@pytest.mark.parametrize("member", list(DEFAULTS))
def test_a_null_member_reads_as_its_default(member: str) -> None:
    assert parse(**{member: None}).normalised() == {**MINIMAL, **DEFAULTS}


@pytest.mark.parametrize("step", [{}, dict.fromkeys(STEP_DEFAULTS)], ids=["absent", "null"])
def test_a_step_without_members_reads_as_defaults(step: dict[str, Any]) -> None:
    assert parse(steps=[step]).normalised()["steps"] == [STEP_DEFAULTS]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({}, {"localTransitionExecution": False, "transitionWorkerProtocols": []}),
        (
            {"localTransitionExecution": True, "transitionWorkerProtocols": None},
            {"localTransitionExecution": True, "transitionWorkerProtocols": []},
        ),
        (
            {"localTransitionExecution": None, "transitionWorkerProtocols": ["carrier pigeon"]},
            {"localTransitionExecution": False, "transitionWorkerProtocols": ["carrier pigeon"]},
        ),
    ],
)
def test_present_capabilities_have_separate_defaults(written: dict[str, Any], read: dict[str, Any]) -> None:
    assert parse(capabilities=written).normalised()["capabilities"] == read


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "composition", [{}, {"rootDefinitionId": None, "definitions": None}, {"rootDefinitionId": " "}]
)
def test_an_empty_composition_is_legal_in_every_version(version: int, composition: dict[str, Any]) -> None:
    assert not parse(schemaVersion=version, composition=composition).composition.definitions


def test_a_composition_is_legal_in_version_3(composed_document: dict[str, Any]) -> None:
    contract = parse_contract(json.dumps(composed_document).encode())
    assert contract.normalised()["composition"] == composed_document["composition"]


def test_a_composition_of_three_thousand_definitions_in_a_row_is_walked_without_recursion(
    composed_document: dict[str, Any],
) -> None:
    definitions = composed_document["composition"]["definitions"]
    chain = []
    for number in range(3000):
        text = json.dumps(definitions[1]).replace('"grandchild"', f'"d{number + 1}"')
        chain.append(json.loads(text.replace('"child"', f'"d{number}"')))
        del chain[-1]["nodes"][0], chain[-1]["continuations"][0]
        chain[-1]["nodes"][0]["index"] = 0
    last = {**definitions[2], "definitionId": "d3000"}
    definitions[0]["nodes"][1]["targetDefinitionId"] = "d0"
    definitions[1:] = [*chain, last]
    assert len(contract_from_json(composed_document).composition.definitions) == 3002


IMPORTS: dict[str, Any] = {
    "importedDefinitions": [{"definitionId": "org.y", "nested": {"b": [1, None], "a": {}}}],
    "capabilityImports": [{"capability": "rest"}, {}],
}


def test_imports_are_kept_in_version_3() -> None:
    contract = parse(schemaVersion=3, **IMPORTS)
    assert contract.normalised() == {**MINIMAL, **DEFAULTS, "schemaVersion": 3, **IMPORTS}
    assert contract_from_json(contract.normalised()) == contract


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("empty", [None, []])
@pytest.mark.parametrize("member", IMPORTS)
def test_empty_imports_are_legal_in_every_version_and_left_out(member: str, empty: Any, version: int) -> None:
    contract = parse(schemaVersion=version, **{member: empty})
    assert contract.normalised() == {**MINIMAL, **DEFAULTS, "schemaVersion": version}
    assert contract == parse(schemaVersion=version)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("deferred", [{}, {"transport": "webhook", "options": {"b": None, "a": [1]}}])
def test_a_step_that_ends_later_is_kept_in_every_version(version: int, deferred: dict[str, Any]) -> None:
    contract = parse(schemaVersion=version, steps=[{"deferredCompletion": deferred}])
    assert contract.normalised()["steps"] == [{**STEP_DEFAULTS, "deferredCompletion": deferred}]
    assert contract_from_json(contract.normalised()) == contract


def test_a_step_that_does_not_end_later_says_nothing_of_it() -> None:
    steps = [{"deferredCompletion": None}, {"deferredCompletion": {"a": 1}}]
    assert ["deferredCompletion" in step for step in parse(steps=steps).normalised()["steps"]] == [False, True]


def test_canonical_types_are_returned_unchanged(contract_document: dict[str, Any]) -> None:
    types = {
        "T": {
            "definition": {"id": "T", "kind": "riddle", "answer": [1, 2.5, True, {"é": "\u2028"}]},
            "extra": "",
        }
    }
    contract_document["canonicalTypes"] = types
    assert parse_contract(json.dumps(contract_document).encode()).normalised()["canonicalTypes"] == types


def test_a_contract_version_need_not_be_a_hash() -> None:
    assert parse(contractVersion="v1").contract_version == "v1"


def test_an_identity_of_500_characters_is_legal() -> None:
    assert parse(pipelineId="é" * 500).pipeline_id == "é" * 500


def test_a_normalised_contract_reads_as_itself(contract_document: dict[str, Any]) -> None:
    contract = parse_contract(json.dumps(contract_document).encode())
    assert contract.normalised() == contract_document
    assert contract_from_json(contract.normalised()) == contract


@pytest.mark.parametrize(
    ("cardinalities", "shape"),
    [
        ([], "SINGLE"),
        (["ONE_TO_ONE"], "SINGLE"),
        ([None, "SOMETHING_ELSE"], "SINGLE"),
        (["ONE_TO_MANY"], "MATERIALIZED_MULTI"),
        (["MANY_TO_MANY"], "MATERIALIZED_MULTI"),
        (["EXPANSION"], "MATERIALIZED_MULTI"),
        (["ONE_TO_MANY", "ONE_TO_ONE"], "MATERIALIZED_MULTI"),
        (["ONE_TO_MANY", "MANY_TO_ONE"], "SINGLE"),
        (["ONE_TO_MANY", "REDUCTION"], "SINGLE"),
        (["ONE_TO_MANY", "MANY_TO_ONE", "EXPANSION", "ONE_TO_ONE"], "MATERIALIZED_MULTI"),
    ],
)
def test_the_result_shape_is_folded_over_the_steps(cardinalities: list[str | None], shape: str) -> None:
    assert parse(steps=[{"cardinality": cardinality} for cardinality in cardinalities]).result_shape == shape
