"""Contracts: their defaults, and the finding about each broken rule (wire protocol A.1)."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.documents.examples import (
    COMPOSED,
    CONTRACT,
    DELETED,
    LONG,
    NO_COMPOSITION,
    Document,
    calling,
    changed,
    encoded,
    findings_of,
    rows,
)
from wire.documents.contract import Contract, contract_from_json, parse_contract

MINIMAL = {"schemaVersion": 1, "pipelineId": "p", "contractVersion": "v1", "contractHash": "opaque"}
ALL_PROTOCOLS = ["local", "rest", "grpc", "sqs"]
DEFAULTS: Document = {
    **dict.fromkeys(["platform", "transport", "module", "runtimeLayout"]),
    "pluginHost": False,
    "steps": [],
    "capabilities": {"localTransitionExecution": True, "transitionWorkerProtocols": ALL_PROTOCOLS},
    "canonicalTypes": {},
    "canonicalCatalogFingerprint": "",
    "composition": NO_COMPOSITION,
}
STEP_DEFAULTS: Document = {
    **dict.fromkeys(["authoredName", "cardinality", "inputTypeId", "outputTypeId"]),
    **dict.fromkeys(["runtimeClass", "clientClass", "awaitTransport"]),
    "index": 0,
    "kind": "internal",
}
IMPORTS = ("importedDefinitions", "capabilityImports")


def parse(**members: Any) -> Contract:
    """Return the contract, which is read back equal from its normalised form."""
    contract = parse_contract(encoded({**MINIMAL, **members}))
    assert contract_from_json(contract.normalised()) == contract
    return contract


def test_absent_and_null_members_have_their_defaults() -> None:
    assert parse().normalised() == {**MINIMAL, **DEFAULTS}
    for member in (*DEFAULTS, *IMPORTS):
        assert parse(**{member: None}).normalised() == {**MINIMAL, **DEFAULTS}, member
    for step in ({}, dict.fromkeys([*STEP_DEFAULTS, "deferredCompletion"])):
        assert parse(steps=[step]).normalised()["steps"] == [STEP_DEFAULTS]


@cases("document", [CONTRACT, COMPOSED])
def test_a_contract_with_every_member_is_read_unchanged(document: Document) -> None:
    document["canonicalTypes"]["T"] = {"definition": {"kind": "riddle", "answer": [2.5, {"é": "\u2028"}]}, "extra": ""}
    document["pipelineId"] = "é" * 500
    assert parse(**document).normalised() == document


@cases(
    ("cardinalities", "shape"),
    [
        ([], "SINGLE"),
        (["ONE_TO_ONE"], "SINGLE"),
        (["ONE_TO_MANY"], "MATERIALIZED_MULTI"),
        (["ONE_TO_MANY", "MANY_TO_ONE"], "SINGLE"),
        (["ONE_TO_MANY", "MANY_TO_ONE", "EXPANSION", "ONE_TO_ONE"], "MATERIALIZED_MULTI"),
    ],
)
def test_the_result_shape_is_folded_over_the_steps(cardinalities: list[str | None], shape: str) -> None:
    assert parse(steps=[{"cardinality": cardinality} for cardinality in cardinalities]).result_shape == shape


UNKNOWN, MISSING, BLANK = "CONTRACT_UNKNOWN_MEMBER", "CONTRACT_MISSING_MEMBER", "CONTRACT_BLANK_MEMBER"
WRONG_TYPE, VERSION = "CONTRACT_WRONG_TYPE", "CONTRACT_SCHEMA_VERSION_UNSUPPORTED"
OUT_OF_RANGE, CHARACTER = "CONTRACT_NUMBER_OUT_OF_RANGE", "DOCUMENT_BAD_CHARACTER"
NEEDS_3 = "IMPORTS_REQUIRE_SCHEMA_VERSION_3"

BROKEN: list[tuple[str, Any, list[Any]]] = [
    (UNKNOWN, ("owner", "steps[1].id", "capabilities.grpc", 'composition["root id"]'), [1, None]),
    (VERSION, "schemaVersion", [DELETED, None, 0, 4]),
    (WRONG_TYPE, "schemaVersion", ["1", 1.0, True]),
    (OUT_OF_RANGE, "schemaVersion", [2**31]),
    (MISSING, ("pipelineId", "contractVersion", "contractHash"), [DELETED, None]),
    (BLANK, ("pipelineId", "contractHash"), [" \t", ""]),
    ("IDENTITY_TOO_LONG", ("pipelineId", "contractVersion"), [LONG]),
    (WRONG_TYPE, ("pipelineId", "steps[0].kind"), [7, []]),
    (WRONG_TYPE, ("pluginHost", "capabilities.localTransitionExecution"), ["true", 0]),
    (WRONG_TYPE, "steps", [{}, "abc"]),
    (WRONG_TYPE, "steps[0]", [None, []]),
    (WRONG_TYPE, "steps[1].deferredCompletion", ["x", []]),
    (WRONG_TYPE, ("capabilities", "canonicalTypes", "composition"), [[]]),
    (WRONG_TYPE, "capabilities.transitionWorkerProtocols[1]", [None]),
    (WRONG_TYPE, IMPORTS, [{}]),
    (NEEDS_3, IMPORTS, [[{}]]),
    (WRONG_TYPE, "canonicalTypes.T", [None]),
    ("CONTRACT_TYPE_HAS_NULL", "canonicalTypes.T.runtimeClass", [None]),
    (CHARACTER, "module", ["a\0b", "a\ud800b"]),
    (CHARACTER, 'canonicalTypes["a\\u0000"]', [{}]),
]
COMPOSITIONS: list[tuple[str, Any, list[Any]]] = [
    ("COMPOSITION_ROOT_UNKNOWN", "rootDefinitionId", ["other"]),
    ("COMPOSITION_DEFINITIONS_MISSING", "definitions", [[]]),
    (MISSING, "definitions[0].nodes[0].cardinality", [None]),
    ("COMPOSITION_NODE_INDEX", "definitions[0].nodes[1].index", [2]),
    ("COMPOSITION_NODE_KIND", "definitions[0].nodes[0].kind", ["Direct"]),
    ("COMPOSITION_TARGET_UNEXPECTED", "definitions[0].nodes[0].targetDefinitionId", ["child"]),
    ("COMPOSITION_TARGET_UNKNOWN", "definitions[1].nodes[0].targetDefinitionId", [""]),
    ("COMPOSITION_CONTINUATION_NODE", "definitions[0].continuations[0].nodeId", ["n1"]),
    ("COMPOSITION_CONTINUATION_KIND", ("definitions[0].continuations[0].kind",), ["RETURN"]),
    ("COMPOSITION_CONTINUATION_KIND", ("definitions[1].continuations[1].kind",), ["ROOT_TERMINAL"]),
    ("COMPOSITION_CONTINUATION_NEXT", "definitions[0].continuations[0].nextNodeId", ["n0"]),
]


@cases(("code", "field", "value"), rows(BROKEN))
def test_a_broken_contract_gets_exactly_its_finding(code: str, field: str, value: Any) -> None:
    assert findings_of(parse_contract, changed(CONTRACT, field, value)) == [(code, field)]


@cases(("code", "field", "value"), rows(COMPOSITIONS))
def test_a_broken_composition_gets_exactly_its_finding(code: str, field: str, value: Any) -> None:
    field = f"composition.{field}"
    assert findings_of(parse_contract, changed(COMPOSED, field, value)) == [(code, field)]


@cases(
    ("document", "code", "field"),
    [
        (changed(COMPOSED, "schemaVersion", 2), "COMPOSITION_REQUIRES_SCHEMA_VERSION_3", "composition"),
        (
            changed(COMPOSED, "composition.definitions[0].continuations[1]", DELETED),
            "COMPOSITION_CONTINUATION_COUNT",
            "composition.definitions[0].continuations",
        ),
        (
            changed(COMPOSED, "composition.definitions[2].nodes[0]", calling(0, "child")),
            "COMPOSITION_CYCLE",
            "composition.definitions[2].nodes[0].targetDefinitionId",
        ),
    ],
)
def test_a_finding_is_where_the_rule_is_broken(document: Document, code: str, field: str) -> None:
    assert findings_of(parse_contract, document) == [(code, field)]
