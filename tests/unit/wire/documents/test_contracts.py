"""Contracts: defaults, the finding about each broken rule, hashes, and the evidence of releases."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.documents import examples
from wire.documents import contract as contracts
from wire.documents.descriptor import descriptor_from_json
from wire.documents.release_evidence import evidence

MINIMAL = {"schemaVersion": 1, "pipelineId": "p", "contractVersion": "v1", "contractHash": "opaque"}
ALL_PROTOCOLS = ["local", "rest", "grpc", "sqs"]
DEFAULTS: examples.Document = {
    **dict.fromkeys(["platform", "transport", "module", "runtimeLayout"]),
    "pluginHost": False,
    "steps": [],
    "capabilities": {"localTransitionExecution": True, "transitionWorkerProtocols": ALL_PROTOCOLS},
    "canonicalTypes": {},
    "canonicalCatalogFingerprint": "",
    "composition": examples.NO_COMPOSITION,
}
STEP_DEFAULTS: examples.Document = {
    **dict.fromkeys(["authoredName", "cardinality", "inputTypeId", "outputTypeId"]),
    **dict.fromkeys(["runtimeClass", "clientClass", "awaitTransport"]),
    "index": 0,
    "kind": "internal",
}
IMPORTS = ("importedDefinitions", "capabilityImports")
UNKNOWN, MISSING, BLANK = "CONTRACT_UNKNOWN_MEMBER", "CONTRACT_MISSING_MEMBER", "CONTRACT_BLANK_MEMBER"
WRONG_TYPE, VERSION = "CONTRACT_WRONG_TYPE", "CONTRACT_SCHEMA_VERSION_UNSUPPORTED"
OUT_OF_RANGE, CHARACTER = "CONTRACT_NUMBER_OUT_OF_RANGE", "DOCUMENT_BAD_CHARACTER"
COMPOSITION_NEEDS_3 = "COMPOSITION_REQUIRES_SCHEMA_VERSION_3"
MULTI = "MATERIALIZED_MULTI"
NEEDS_3 = "IMPORTS_REQUIRE_SCHEMA_VERSION_3"
VECTOR_HASH = "6009c40295c6bc55afedd38031ff97e1ab45d59eaab8fbe4c720d3d526e2a3b9"
NEWER_HASH = "9b1f479c3a9408cb0f41d343496668c6bed955add418917b2d115542bf0fb4f1"
UNKNOWN_TO_CLIENTS = "awaitTransport"


def parse(**members: Any) -> contracts.Contract:
    """Return the contract, which is read back equal from its normalised form."""
    contract = contracts.parse_contract(examples.encoded({**MINIMAL, **members}))
    assert contracts.contract_from_json(contract.normalised()) == contract
    return contract


def test_absent_and_null_members_have_their_defaults() -> None:
    assert parse().normalised() == {**MINIMAL, **DEFAULTS}
    for member in (*DEFAULTS, *IMPORTS):
        assert parse(**{member: None}).normalised() == {**MINIMAL, **DEFAULTS}, member
    for step in ({}, dict.fromkeys([*STEP_DEFAULTS, "deferredCompletion"])):
        assert parse(steps=[step]).normalised()["steps"] == [STEP_DEFAULTS]


@cases("document", [examples.CONTRACT, examples.COMPOSED])
def test_a_contract_with_every_member_is_read_unchanged(document: examples.Document) -> None:
    document["canonicalTypes"]["T"] = {"definition": {"kind": "riddle", "answer": [2.5, {"é": "\u2028"}]}, "extra": ""}
    document["pipelineId"] = "é" * 500
    assert parse(**document).normalised() == document


@cases(
    ("cardinalities", "shape"),
    [
        *(([], "SINGLE"), (["ONE_TO_ONE"], "SINGLE"), (["ONE_TO_MANY", "MANY_TO_ONE"], "SINGLE")),
        *((["ONE_TO_MANY", *more], MULTI) for more in ([], ["MANY_TO_ONE", "EXPANSION", "ONE_TO_ONE"])),
    ],
)
def test_the_result_shape_is_folded_over_the_steps(cardinalities: list[str | None], shape: str) -> None:
    assert parse(steps=[{"cardinality": cardinality} for cardinality in cardinalities]).result_shape == shape


BROKEN: list[tuple[str, Any, list[Any]]] = [
    (UNKNOWN, ("owner", "steps[1].id", "capabilities.grpc", 'composition["root id"]'), [1, None]),
    (VERSION, "schemaVersion", [examples.DELETED, None, 0, 4]),
    (WRONG_TYPE, "schemaVersion", ["1", 1.0, True]),
    (OUT_OF_RANGE, "schemaVersion", [2**31]),
    (MISSING, ("pipelineId", "contractVersion", "contractHash"), [examples.DELETED, None]),
    (BLANK, ("pipelineId", "contractHash"), [" \t", ""]),
    ("IDENTITY_TOO_LONG", ("pipelineId", "contractVersion"), [examples.LONG]),
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


NO_AWAIT, INVALID = "CONTRACT_REQUEST_WITHOUT_AWAIT", "CONTRACT_BRANCHES_INVALID"
BRANCHES = [{"name": name} for name in "ab"]
TOO_FEW = "COMPOSITION_CONTINUATION_COUNT"
OF_ROOT = "composition.definitions[0].continuations"
LAST, TARGET = "composition.definitions[2].nodes[0]", "targetDefinitionId"
AWAITED = examples.changed(examples.CONTRACT, "steps", examples.CONTRACT["steps"][::-1])


@cases(
    ("document", "code", "field"),
    [
        *((examples.changed(examples.CONTRACT, at, value), code, at) for code, at, value in examples.rows(BROKEN)),
        *(
            (examples.changed(examples.COMPOSED, f"composition.{at}", value), code, f"composition.{at}")
            for code, at, value in examples.rows(COMPOSITIONS)
        ),
        (examples.changed(examples.COMPOSED, "schemaVersion", 2), COMPOSITION_NEEDS_3, "composition"),
        *(
            (examples.changed(examples.CONTRACT, f"steps[1].{member}", value), code, f"steps[1].{member}{path}")
            for member, value, code, path in (
                ("condition", "a.b", "CONTRACT_CONDITION_WITHOUT_REQUEST", ""),
                ("branching", {"kind": "race", "branches": BRANCHES}, INVALID, ".kind"),
                ("branching", {"kind": "gather", "branches": BRANCHES[:1]}, INVALID, ".branches"),
                ("branching", {"kind": "choose", "branches": BRANCHES[:1] * 2}, INVALID, ".branches"),
            )
        ),
        *(
            (examples.changed(document, "steps[1].takesRequest", True), NO_AWAIT, "steps[1].takesRequest")
            for document in (examples.CONTRACT, examples.changed(AWAITED, "steps[0].awaitTransport", "timer"))
        ),
        (examples.changed(examples.COMPOSED, f"{OF_ROOT}[1]", examples.DELETED), TOO_FEW, OF_ROOT),
        (
            examples.changed(examples.COMPOSED, LAST, examples.calling(0, "child")),
            "COMPOSITION_CYCLE",
            f"{LAST}.{TARGET}",
        ),
    ],
)
def test_a_finding_is_where_the_rule_is_broken(document: examples.Document, code: str, field: str) -> None:
    assert examples.findings_of(contracts.parse_contract, document) == [(code, field)]


VECTOR_INPUT = (
    '{"schemaVersion":1,"pipelineId":"org.x","platform":"COMPUTE","transport":"REST","pluginHost":false,'
    '"runtimeLayout":"MONOLITH","steps":[{"index":0,"authoredName":"Validate <Order>","kind":"internal",'
    '"cardinality":"ONE_TO_ONE","inputTypeId":"org.x.In","outputTypeId":"org.x.Out","runtimeClass":"org.x.Svc",'
    '"clientClass":"org.x.pipeline.ValidateRestClientStep"}],"canonicalTypes":{},"canonicalCatalogFingerprint":'
    '"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","capabilities":'
    '{"localTransitionExecution":true,"transitionWorkerProtocols":["local","rest","grpc","sqs"]}}'
)


@pytest.fixture
def vector() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(VECTOR_INPUT)
    return document


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_the_vector_in_which_nulls_the_identity_members_and_the_order_do_not_count(vector: dict[str, Any]) -> None:
    assert contracts.hash_input(vector).decode() == VECTOR_INPUT
    assert contracts.contract_hash(vector) == VECTOR_HASH
    vector.update(module=None, composition=None, contractVersion="x", contractHash="y")
    vector["steps"][0]["awaitTransport"] = None
    assert contracts.hash_input(shuffled(vector)).decode() == VECTOR_INPUT


NEWER_INPUT = VECTOR_INPUT.replace('"schemaVersion":1', '"schemaVersion":3').replace(
    ',"capabilities":',
    ',"importedDefinitions":[{"a":{"c":[{"x":1,"y":2}],"d":"é"},"b":1},{}],"capabilityImports":[{"m":true,"n":[]}]'
    ',"capabilities":',
)


def test_the_vector_with_imports_which_stand_before_the_capabilities_with_sorted_keys(vector: dict[str, Any]) -> None:
    vector["schemaVersion"] = 3
    vector["capabilityImports"] = [{"n": [], "m": True, "o": None}]
    vector["importedDefinitions"] = [{"b": 1, "a": {"d": "é", "c": [{"y": 2, "x": 1}]}}, {}]
    assert contracts.hash_input(vector).decode() == NEWER_INPUT
    assert contracts.contract_hash(vector) == contracts.contract_hash(shuffled(vector)) == NEWER_HASH
    assert contracts.hash_findings(contracts.publish(vector)) == []


def test_every_hashed_member_changes_the_hash(vector: dict[str, Any]) -> None:
    scalars = {"pipelineId": "org.y", "module": "m", "pluginHost": True, "canonicalTypes": {"T": {}}}
    lists: dict[str, Any] = {"steps": [], "importedDefinitions": [{}], "capabilityImports": [{}]}
    capabilities = {"localTransitionExecution": False, "transitionWorkerProtocols": []}
    for member, value in {**scalars, **lists, "capabilities": capabilities}.items():
        assert contracts.contract_hash({**vector, member: value}) != VECTOR_HASH, member
    assert contracts.contract_hash({**vector, "steps": [{"deferredCompletion": {}}]}) != VECTOR_HASH


def test_the_published_document_has_the_identity_after_the_pipeline(vector: dict[str, Any]) -> None:
    published = contracts.publish({**shuffled(vector), "module": None, "contractVersion": "stale"})
    assert list(published)[:4] == ["schemaVersion", "pipelineId", "contractVersion", "contractHash"]
    assert published["contractHash"] == VECTOR_HASH
    assert published["contractVersion"] == f"sha256:{VECTOR_HASH}"
    assert "module" not in published
    assert contracts.contract_hash(published) == VECTOR_HASH
    assert contracts.hash_findings(published) == []
    assert contracts.contract_from_json(published).contract_hash == VECTOR_HASH


def test_the_fingerprint_is_over_sorted_keys_in_utf16_order() -> None:
    first, second = "\U0001f600", "\uffee"  # by code point the other way round
    types = {second: {"b": 1, "a": 2}, first: {}}
    text = f'{{"{first}":{{}},"{second}":{{"a":2,"b":1}}}}'
    assert contracts.canonical_catalog_fingerprint(types) == hashlib.sha256(text.encode()).hexdigest()


RELEASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("release_evidence.json").read_text())[
    "releases"
]


@cases("name", RELEASES)
def test_the_fingerprint_is_that_of_the_framework(name: str) -> None:
    vector = RELEASES[name]
    contract = contracts.contract_from_json(vector["contract"]).normalised() if vector["contract"] else None
    made = evidence(descriptor_from_json(vector["descriptor"]).normalised(), contract, vector["primary"])
    assert made["metadataFingerprint"] == vector["metadataFingerprint"]
    assert UNKNOWN_TO_CLIENTS not in json.dumps(made)
    # A client reads what it received into its records, and computes the fingerprint of these.
    assert evidence(made["descriptor"], made["contract"], vector["primary"]) == made
