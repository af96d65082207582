"""Malformed contracts and their findings (wire protocol A.1).

A row names what it breaks, the path to set (its last item is the value; `...` deletes), the code and the
field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from wire.documents.contract import parse_contract

Document = dict[str, Any]
Change = Callable[[Document, tuple[Any, ...]], None]
Findings = Callable[[Callable[[bytes], object], bytes], list[tuple[str, str]]]

LONG = "x" * 501

COMPOSED = ("composition", "definitions")
ROOT, CHILD, GRANDCHILD = (*COMPOSED, 0), (*COMPOSED, 1), (*COMPOSED, 2)

CONTRACTS: list[tuple[str, tuple[Any, ...], str, str]] = [
    ("unknown member", ("owner", "me"), "CONTRACT_UNKNOWN_MEMBER", "owner"),
    ("unknown member in snake case", ("pipeline_id", "x"), "CONTRACT_UNKNOWN_MEMBER", "pipeline_id"),
    ("unknown member of a step", ("steps", 1, "id", 1), "CONTRACT_UNKNOWN_MEMBER", "steps[1].id"),
    (
        "unknown member of the capabilities",
        ("capabilities", "grpc", True),
        "CONTRACT_UNKNOWN_MEMBER",
        "capabilities.grpc",
    ),
    (
        "unknown member of the composition",
        ("composition", "root id", "x"),
        "CONTRACT_UNKNOWN_MEMBER",
        'composition["root id"]',
    ),
    (
        "schemaVersion absent",
        ("schemaVersion", ...),
        "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
    ),
    (
        "schemaVersion null",
        ("schemaVersion", None),
        "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
    ),
    ("schemaVersion 0", ("schemaVersion", 0), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion 4", ("schemaVersion", 4), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion -1", ("schemaVersion", -1), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion a string", ("schemaVersion", "1"), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion a fraction", ("schemaVersion", 1.0), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion true", ("schemaVersion", True), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion huge", ("schemaVersion", 2**31), "CONTRACT_NUMBER_OUT_OF_RANGE", "schemaVersion"),
    ("pipelineId absent", ("pipelineId", ...), "CONTRACT_MISSING_MEMBER", "pipelineId"),
    ("pipelineId null", ("pipelineId", None), "CONTRACT_MISSING_MEMBER", "pipelineId"),
    ("pipelineId blank", ("pipelineId", " \t"), "CONTRACT_BLANK_MEMBER", "pipelineId"),
    ("pipelineId a number", ("pipelineId", 7), "CONTRACT_WRONG_TYPE", "pipelineId"),
    ("pipelineId too long", ("pipelineId", LONG), "IDENTITY_TOO_LONG", "pipelineId"),
    ("contractVersion absent", ("contractVersion", ...), "CONTRACT_MISSING_MEMBER", "contractVersion"),
    ("contractVersion too long", ("contractVersion", LONG), "IDENTITY_TOO_LONG", "contractVersion"),
    ("contractHash absent", ("contractHash", ...), "CONTRACT_MISSING_MEMBER", "contractHash"),
    ("contractHash blank", ("contractHash", ""), "CONTRACT_BLANK_MEMBER", "contractHash"),
    ("platform a number", ("platform", 1), "CONTRACT_WRONG_TYPE", "platform"),
    ("pluginHost a string", ("pluginHost", "true"), "CONTRACT_WRONG_TYPE", "pluginHost"),
    ("pluginHost a number", ("pluginHost", 1), "CONTRACT_WRONG_TYPE", "pluginHost"),
    ("steps an object", ("steps", {}), "CONTRACT_WRONG_TYPE", "steps"),
    ("steps a string", ("steps", "abc"), "CONTRACT_WRONG_TYPE", "steps"),
    ("a null step", ("steps", "append", None), "CONTRACT_WRONG_TYPE", "steps[2]"),
    ("a step that is an array", ("steps", 0, []), "CONTRACT_WRONG_TYPE", "steps[0]"),
    ("step index a string", ("steps", 0, "index", "0"), "CONTRACT_WRONG_TYPE", "steps[0].index"),
    (
        "step index huge",
        ("steps", 0, "index", 10**30),
        "CONTRACT_NUMBER_OUT_OF_RANGE",
        "steps[0].index",
    ),
    ("step kind a number", ("steps", 0, "kind", 1), "CONTRACT_WRONG_TYPE", "steps[0].kind"),
    (
        "step cardinality an array",
        ("steps", 0, "cardinality", []),
        "CONTRACT_WRONG_TYPE",
        "steps[0].cardinality",
    ),
    ("capabilities an array", ("capabilities", []), "CONTRACT_WRONG_TYPE", "capabilities"),
    (
        "capability flag a number",
        ("capabilities", "localTransitionExecution", 0),
        "CONTRACT_WRONG_TYPE",
        "capabilities.localTransitionExecution",
    ),
    (
        "a null protocol",
        ("capabilities", "transitionWorkerProtocols", ["rest", None]),
        "CONTRACT_WRONG_TYPE",
        "capabilities.transitionWorkerProtocols[1]",
    ),
    ("canonicalTypes an array", ("canonicalTypes", []), "CONTRACT_WRONG_TYPE", "canonicalTypes"),
    ("importedDefinitions an object", ("importedDefinitions", {"a": 1}), "CONTRACT_WRONG_TYPE", "importedDefinitions"),
    ("importedDefinitions a string", ("importedDefinitions", "a"), "CONTRACT_WRONG_TYPE", "importedDefinitions"),
    ("capabilityImports an object", ("capabilityImports", {}), "CONTRACT_WRONG_TYPE", "capabilityImports"),
    (
        "imported definitions in version 2",
        ("importedDefinitions", [{"definitionId": "a"}]),
        "IMPORTS_REQUIRE_SCHEMA_VERSION_3",
        "importedDefinitions",
    ),
    (
        "imported capabilities in version 2",
        ("capabilityImports", [{}]),
        "IMPORTS_REQUIRE_SCHEMA_VERSION_3",
        "capabilityImports",
    ),
    (
        "deferredCompletion a string",
        ("steps", 0, "deferredCompletion", "x"),
        "CONTRACT_WRONG_TYPE",
        "steps[0].deferredCompletion",
    ),
    (
        "deferredCompletion an array",
        ("steps", 1, "deferredCompletion", []),
        "CONTRACT_WRONG_TYPE",
        "steps[1].deferredCompletion",
    ),
    ("a canonical type a string", ("canonicalTypes", "T", "x"), "CONTRACT_WRONG_TYPE", "canonicalTypes.T"),
    ("a canonical type null", ("canonicalTypes", "T", None), "CONTRACT_WRONG_TYPE", "canonicalTypes.T"),
    (
        "null in a canonical type",
        ("canonicalTypes", "T", {"runtimeClass": None}),
        "CONTRACT_TYPE_HAS_NULL",
        "canonicalTypes.T.runtimeClass",
    ),
    (
        "null deep in a canonical type",
        ("canonicalTypes", "org.T", {"definition": {"fields": [{"name": None}]}}),
        "CONTRACT_TYPE_HAS_NULL",
        'canonicalTypes["org.T"].definition.fields[0].name',
    ),
    (
        "fingerprint a number",
        ("canonicalCatalogFingerprint", 1),
        "CONTRACT_WRONG_TYPE",
        "canonicalCatalogFingerprint",
    ),
    ("U+0000 in a value", ("module", "a\0b"), "DOCUMENT_BAD_CHARACTER", "module"),
    ("lone surrogate in a value", ("module", "a\ud800b"), "DOCUMENT_BAD_CHARACTER", "module"),
    (
        "U+0000 in a name",
        ("canonicalTypes", "a\0", {}),
        "DOCUMENT_BAD_CHARACTER",
        'canonicalTypes["a\\u0000"]',
    ),
]

COMPOSITIONS = [
    ("composition an array", ("composition", []), "CONTRACT_WRONG_TYPE", ""),
    ("composition of version 2", ("schemaVersion", 2), "COMPOSITION_REQUIRES_SCHEMA_VERSION_3", ""),
    ("composition of version 1", ("schemaVersion", 1), "COMPOSITION_REQUIRES_SCHEMA_VERSION_3", ""),
    (
        "definitions without a root",
        ("composition", "rootDefinitionId", ""),
        "COMPOSITION_ROOT_MISSING",
        ".rootDefinitionId",
    ),
    (
        "a root without definitions",
        ("composition", "definitions", []),
        "COMPOSITION_DEFINITIONS_MISSING",
        ".definitions",
    ),
    (
        "an unknown root",
        ("composition", "rootDefinitionId", "other"),
        "COMPOSITION_ROOT_UNKNOWN",
        ".rootDefinitionId",
    ),
    (
        "a definition without an id",
        (*CHILD, "definitionId", ...),
        "CONTRACT_MISSING_MEMBER",
        ".definitions[1].definitionId",
    ),
    (
        "a definition with a blank fingerprint",
        (*CHILD, "definitionFingerprint", " "),
        "CONTRACT_BLANK_MEMBER",
        ".definitions[1].definitionFingerprint",
    ),
    (
        "a node without a cardinality",
        (*ROOT, "nodes", 0, "cardinality", None),
        "CONTRACT_MISSING_MEMBER",
        ".definitions[0].nodes[0].cardinality",
    ),
    (
        "an unknown member of a node",
        (*ROOT, "nodes", 0, "label", ""),
        "CONTRACT_UNKNOWN_MEMBER",
        ".definitions[0].nodes[0].label",
    ),
    (
        "a continuation that is a string",
        (*ROOT, "continuations", 0, "RETURN"),
        "CONTRACT_WRONG_TYPE",
        ".definitions[0].continuations[0]",
    ),
    (
        "node indexes with a gap",
        (*ROOT, "nodes", 1, "index", 2),
        "COMPOSITION_NODE_INDEX",
        ".definitions[0].nodes[1].index",
    ),
    (
        "a node of an unknown kind",
        (*ROOT, "nodes", 0, "kind", "Direct"),
        "COMPOSITION_NODE_KIND",
        ".definitions[0].nodes[0].kind",
    ),
    (
        "a direct node with a target",
        (*ROOT, "nodes", 0, "targetDefinitionId", "child"),
        "COMPOSITION_TARGET_UNEXPECTED",
        ".definitions[0].nodes[0].targetDefinitionId",
    ),
    (
        "a pipeline node without a target",
        (*CHILD, "nodes", 0, "targetDefinitionId", ""),
        "COMPOSITION_TARGET_UNKNOWN",
        ".definitions[1].nodes[0].targetDefinitionId",
    ),
    (
        "a continuation of another node",
        (*ROOT, "continuations", 0, "nodeId", "n1"),
        "COMPOSITION_CONTINUATION_NODE",
        ".definitions[0].continuations[0].nodeId",
    ),
    (
        "a return in the middle",
        (*ROOT, "continuations", 0, "kind", "RETURN"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[0].continuations[0].kind",
    ),
    (
        "a root that returns",
        (*ROOT, "continuations", 1, "kind", "RETURN"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[0].continuations[1].kind",
    ),
    (
        "a child that terminates",
        (*CHILD, "continuations", 1, "kind", "ROOT_TERMINAL"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[1].continuations[1].kind",
    ),
    (
        "a continuation to the wrong node",
        (*ROOT, "continuations", 0, "nextNodeId", "n0"),
        "COMPOSITION_CONTINUATION_NEXT",
        ".definitions[0].continuations[0].nextNodeId",
    ),
    (
        "fewer continuations than nodes",
        (*ROOT, "continuations", 1, ...),
        "COMPOSITION_CONTINUATION_COUNT",
        ".definitions[0].continuations",
    ),
    (
        "a cycle of two definitions",
        (
            *GRANDCHILD,
            "nodes",
            0,
            {
                **{"index": 0, "nodeId": "n0", "kind": "pipeline"},
                **{
                    "inputContractId": "In",
                    "outputContractId": "Out",
                    "cardinality": "ONE_TO_ONE",
                    "targetDefinitionId": "child",
                },
            },
        ),
        "COMPOSITION_CYCLE",
        ".definitions[2].nodes[0].targetDefinitionId",
    ),
]


@pytest.mark.parametrize(("path", "code", "field"), [row[1:] for row in CONTRACTS], ids=[row[0] for row in CONTRACTS])
def test_a_broken_contract_gets_exactly_its_finding(
    contract_document: Document,
    change: Change,
    findings_of: Findings,
    path: tuple[Any, ...],
    code: str,
    field: str,
) -> None:
    change(contract_document, path)
    data = json.dumps(contract_document).encode()
    assert findings_of(parse_contract, data) == [(code, f"pipeline-contract.json#{field}")]


@pytest.mark.parametrize(
    ("path", "code", "field"), [row[1:] for row in COMPOSITIONS], ids=[row[0] for row in COMPOSITIONS]
)
def test_a_broken_composition_gets_exactly_its_finding(
    composed_document: Document,
    change: Change,
    findings_of: Findings,
    path: tuple[Any, ...],
    code: str,
    field: str,
) -> None:
    change(composed_document, path)
    data = json.dumps(composed_document).encode()
    assert findings_of(parse_contract, data) == [(code, f"pipeline-contract.json#composition{field}")]


@pytest.mark.parametrize("member", ["importedDefinitions", "capabilityImports"])
@pytest.mark.parametrize("item", [None, "a", 1, []])
def test_imports_are_objects(contract_document: Document, findings_of: Findings, member: str, item: Any) -> None:
    contract_document |= {"schemaVersion": 3, member: [{}, item]}
    data = json.dumps(contract_document).encode()
    assert findings_of(parse_contract, data) == [("CONTRACT_WRONG_TYPE", f"pipeline-contract.json#{member}[1]")]


def test_imports_in_an_old_version_are_found_beside_a_broken_composition(
    contract_document: Document, findings_of: Findings
) -> None:
    contract_document |= {"schemaVersion": 1, "composition": 1, "importedDefinitions": [{"a": 1}]}
    assert findings_of(parse_contract, json.dumps(contract_document).encode()) == [
        ("CONTRACT_WRONG_TYPE", "pipeline-contract.json#composition"),
        ("IMPORTS_REQUIRE_SCHEMA_VERSION_3", "pipeline-contract.json#importedDefinitions"),
    ]


def test_a_composition_gets_every_finding_at_once(composed_document: Document, findings_of: Findings) -> None:
    definitions = composed_document["composition"]["definitions"]
    definitions.append({**definitions[2], "nodes": [], "continuations": []})
    definitions.append({**definitions[2], "definitionId": "island"})
    definitions[0]["nodes"][1]["nodeId"] = "n0"
    found = findings_of(parse_contract, json.dumps(composed_document).encode())
    at = "pipeline-contract.json#composition.definitions"
    assert found == [
        ("COMPOSITION_DEFINITION_DUPLICATE", f"{at}[3].definitionId"),
        ("COMPOSITION_NODE_DUPLICATE", f"{at}[0].nodes[1].nodeId"),
        ("COMPOSITION_CONTINUATION_NEXT", f"{at}[0].continuations[0].nextNodeId"),
        ("COMPOSITION_CONTINUATION_NODE", f"{at}[0].continuations[1].nodeId"),
        ("COMPOSITION_NODES_EMPTY", f"{at}[3].nodes"),
        ("COMPOSITION_UNREACHABLE", f"{at}[4]"),
    ]
