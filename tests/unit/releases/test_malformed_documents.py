"""Every way to break a contract or a descriptor, with the finding that it earns (wire protocol A.1, A.2, A.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from releases.contract import MAX_CONTRACT_BYTES, parse_contract
from releases.descriptor import MAX_DESCRIPTOR_BYTES, parse_descriptor
from releases.findings import DocumentError

Document = dict[str, Any]
Expected = list[tuple[str, str]]

ABSENT: Any = object()
CONTRACT_PREAMBLE = "Invalid META-INF/pipeline/pipeline-contract.json JSON: "
DESCRIPTOR_PREAMBLE = "Invalid pipeline release descriptor JSON: "
LONG = "x" * 501
NESTED: Any = {}
for _ in range(70):
    NESTED = {"a": NESTED}


def put(*path: str | int | Any) -> Callable[[Document], None]:
    """Return what sets the member at path[:-1] to path[-1], or deletes it where that is ABSENT."""
    *way, last, value = path

    def change(document: Document) -> None:
        place: Any = document
        for segment in way:
            place = place[segment]
        if value is ABSENT:
            del place[last]
        elif last == "append":
            place.append(value)
        else:
            place[last] = value

    return change


def findings_of(parse: Callable[[bytes], object], data: bytes) -> Expected:
    with pytest.raises(DocumentError) as caught:
        parse(data)
    return [(finding.code, finding.field) for finding in caught.value.findings]


# --- contracts --------------------------------------------------------------------------------------

COMPOSED = ("composition", "definitions")
ROOT, CHILD, GRANDCHILD = (*COMPOSED, 0), (*COMPOSED, 1), (*COMPOSED, 2)

CONTRACTS = [
    ("unknown member", put("owner", "me"), "CONTRACT_UNKNOWN_MEMBER", "owner"),
    ("unknown member in snake case", put("pipeline_id", "x"), "CONTRACT_UNKNOWN_MEMBER", "pipeline_id"),
    ("unknown member of a step", put("steps", 1, "id", 1), "CONTRACT_UNKNOWN_MEMBER", "steps[1].id"),
    (
        "unknown member of the capabilities",
        put("capabilities", "grpc", True),
        "CONTRACT_UNKNOWN_MEMBER",
        "capabilities.grpc",
    ),
    (
        "unknown member of the composition",
        put("composition", "root id", "x"),
        "CONTRACT_UNKNOWN_MEMBER",
        'composition["root id"]',
    ),
    (
        "schemaVersion absent",
        put("schemaVersion", ABSENT),
        "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
    ),
    (
        "schemaVersion null",
        put("schemaVersion", None),
        "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
    ),
    ("schemaVersion 0", put("schemaVersion", 0), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion 4", put("schemaVersion", 4), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion -1", put("schemaVersion", -1), "CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion"),
    ("schemaVersion a string", put("schemaVersion", "1"), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion a fraction", put("schemaVersion", 1.0), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion true", put("schemaVersion", True), "CONTRACT_WRONG_TYPE", "schemaVersion"),
    ("schemaVersion huge", put("schemaVersion", 2**31), "CONTRACT_NUMBER_OUT_OF_RANGE", "schemaVersion"),
    ("pipelineId absent", put("pipelineId", ABSENT), "CONTRACT_MISSING_MEMBER", "pipelineId"),
    ("pipelineId null", put("pipelineId", None), "CONTRACT_MISSING_MEMBER", "pipelineId"),
    ("pipelineId blank", put("pipelineId", " \t"), "CONTRACT_BLANK_MEMBER", "pipelineId"),
    ("pipelineId a number", put("pipelineId", 7), "CONTRACT_WRONG_TYPE", "pipelineId"),
    ("pipelineId too long", put("pipelineId", LONG), "IDENTITY_TOO_LONG", "pipelineId"),
    ("contractVersion absent", put("contractVersion", ABSENT), "CONTRACT_MISSING_MEMBER", "contractVersion"),
    ("contractVersion too long", put("contractVersion", LONG), "IDENTITY_TOO_LONG", "contractVersion"),
    ("contractHash absent", put("contractHash", ABSENT), "CONTRACT_MISSING_MEMBER", "contractHash"),
    ("contractHash blank", put("contractHash", ""), "CONTRACT_BLANK_MEMBER", "contractHash"),
    ("platform a number", put("platform", 1), "CONTRACT_WRONG_TYPE", "platform"),
    ("pluginHost a string", put("pluginHost", "true"), "CONTRACT_WRONG_TYPE", "pluginHost"),
    ("pluginHost a number", put("pluginHost", 1), "CONTRACT_WRONG_TYPE", "pluginHost"),
    ("steps an object", put("steps", {}), "CONTRACT_WRONG_TYPE", "steps"),
    ("steps a string", put("steps", "abc"), "CONTRACT_WRONG_TYPE", "steps"),
    ("a null step", put("steps", "append", None), "CONTRACT_WRONG_TYPE", "steps[2]"),
    ("a step that is an array", put("steps", 0, []), "CONTRACT_WRONG_TYPE", "steps[0]"),
    ("step index a string", put("steps", 0, "index", "0"), "CONTRACT_WRONG_TYPE", "steps[0].index"),
    (
        "step index huge",
        put("steps", 0, "index", 10**30),
        "CONTRACT_NUMBER_OUT_OF_RANGE",
        "steps[0].index",
    ),
    ("step kind a number", put("steps", 0, "kind", 1), "CONTRACT_WRONG_TYPE", "steps[0].kind"),
    (
        "step cardinality an array",
        put("steps", 0, "cardinality", []),
        "CONTRACT_WRONG_TYPE",
        "steps[0].cardinality",
    ),
    ("capabilities an array", put("capabilities", []), "CONTRACT_WRONG_TYPE", "capabilities"),
    (
        "capability flag a number",
        put("capabilities", "localTransitionExecution", 0),
        "CONTRACT_WRONG_TYPE",
        "capabilities.localTransitionExecution",
    ),
    (
        "a null protocol",
        put("capabilities", "transitionWorkerProtocols", ["rest", None]),
        "CONTRACT_WRONG_TYPE",
        "capabilities.transitionWorkerProtocols[1]",
    ),
    ("canonicalTypes an array", put("canonicalTypes", []), "CONTRACT_WRONG_TYPE", "canonicalTypes"),
    ("a canonical type a string", put("canonicalTypes", "T", "x"), "CONTRACT_WRONG_TYPE", "canonicalTypes.T"),
    ("a canonical type null", put("canonicalTypes", "T", None), "CONTRACT_WRONG_TYPE", "canonicalTypes.T"),
    (
        "null in a canonical type",
        put("canonicalTypes", "T", {"runtimeClass": None}),
        "CONTRACT_TYPE_HAS_NULL",
        "canonicalTypes.T.runtimeClass",
    ),
    (
        "null deep in a canonical type",
        put("canonicalTypes", "org.T", {"definition": {"fields": [{"name": None}]}}),
        "CONTRACT_TYPE_HAS_NULL",
        'canonicalTypes["org.T"].definition.fields[0].name',
    ),
    (
        "fingerprint a number",
        put("canonicalCatalogFingerprint", 1),
        "CONTRACT_WRONG_TYPE",
        "canonicalCatalogFingerprint",
    ),
    ("U+0000 in a value", put("module", "a\0b"), "DOCUMENT_BAD_CHARACTER", "module"),
    ("lone surrogate in a value", put("module", "a\ud800b"), "DOCUMENT_BAD_CHARACTER", "module"),
    (
        "U+0000 in a name",
        put("canonicalTypes", "a\0", {}),
        "DOCUMENT_BAD_CHARACTER",
        'canonicalTypes["a\\u0000"]',
    ),
]

COMPOSITIONS = [
    ("composition an array", put("composition", []), "CONTRACT_WRONG_TYPE", ""),
    ("composition of version 2", put("schemaVersion", 2), "COMPOSITION_REQUIRES_SCHEMA_VERSION_3", ""),
    ("composition of version 1", put("schemaVersion", 1), "COMPOSITION_REQUIRES_SCHEMA_VERSION_3", ""),
    (
        "definitions without a root",
        put("composition", "rootDefinitionId", ""),
        "COMPOSITION_ROOT_MISSING",
        ".rootDefinitionId",
    ),
    (
        "a root without definitions",
        put("composition", "definitions", []),
        "COMPOSITION_DEFINITIONS_MISSING",
        ".definitions",
    ),
    (
        "an unknown root",
        put("composition", "rootDefinitionId", "other"),
        "COMPOSITION_ROOT_UNKNOWN",
        ".rootDefinitionId",
    ),
    (
        "a definition without an id",
        put(*CHILD, "definitionId", ABSENT),
        "CONTRACT_MISSING_MEMBER",
        ".definitions[1].definitionId",
    ),
    (
        "a definition with a blank fingerprint",
        put(*CHILD, "definitionFingerprint", " "),
        "CONTRACT_BLANK_MEMBER",
        ".definitions[1].definitionFingerprint",
    ),
    (
        "a node without a cardinality",
        put(*ROOT, "nodes", 0, "cardinality", None),
        "CONTRACT_MISSING_MEMBER",
        ".definitions[0].nodes[0].cardinality",
    ),
    (
        "an unknown member of a node",
        put(*ROOT, "nodes", 0, "label", ""),
        "CONTRACT_UNKNOWN_MEMBER",
        ".definitions[0].nodes[0].label",
    ),
    (
        "a continuation that is a string",
        put(*ROOT, "continuations", 0, "RETURN"),
        "CONTRACT_WRONG_TYPE",
        ".definitions[0].continuations[0]",
    ),
    (
        "node indexes with a gap",
        put(*ROOT, "nodes", 1, "index", 2),
        "COMPOSITION_NODE_INDEX",
        ".definitions[0].nodes[1].index",
    ),
    (
        "a node of an unknown kind",
        put(*ROOT, "nodes", 0, "kind", "Direct"),
        "COMPOSITION_NODE_KIND",
        ".definitions[0].nodes[0].kind",
    ),
    (
        "a direct node with a target",
        put(*ROOT, "nodes", 0, "targetDefinitionId", "child"),
        "COMPOSITION_TARGET_UNEXPECTED",
        ".definitions[0].nodes[0].targetDefinitionId",
    ),
    (
        "a pipeline node without a target",
        put(*CHILD, "nodes", 0, "targetDefinitionId", ""),
        "COMPOSITION_TARGET_UNKNOWN",
        ".definitions[1].nodes[0].targetDefinitionId",
    ),
    (
        "a continuation of another node",
        put(*ROOT, "continuations", 0, "nodeId", "n1"),
        "COMPOSITION_CONTINUATION_NODE",
        ".definitions[0].continuations[0].nodeId",
    ),
    (
        "a return in the middle",
        put(*ROOT, "continuations", 0, "kind", "RETURN"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[0].continuations[0].kind",
    ),
    (
        "a root that returns",
        put(*ROOT, "continuations", 1, "kind", "RETURN"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[0].continuations[1].kind",
    ),
    (
        "a child that terminates",
        put(*CHILD, "continuations", 1, "kind", "ROOT_TERMINAL"),
        "COMPOSITION_CONTINUATION_KIND",
        ".definitions[1].continuations[1].kind",
    ),
    (
        "a continuation to the wrong node",
        put(*ROOT, "continuations", 0, "nextNodeId", "n0"),
        "COMPOSITION_CONTINUATION_NEXT",
        ".definitions[0].continuations[0].nextNodeId",
    ),
    (
        "fewer continuations than nodes",
        put(*ROOT, "continuations", 1, ABSENT),
        "COMPOSITION_CONTINUATION_COUNT",
        ".definitions[0].continuations",
    ),
    (
        "a cycle of two definitions",
        put(
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


@pytest.mark.parametrize(
    ("change", "code", "field"), [row[1:] for row in CONTRACTS], ids=[row[0] for row in CONTRACTS]
)
def test_a_broken_contract_gets_exactly_its_finding(
    contract_document: Document, change: Callable[[Document], None], code: str, field: str
) -> None:
    change(contract_document)
    data = json.dumps(contract_document).encode()
    assert findings_of(parse_contract, data) == [(code, f"pipeline-contract.json#{field}")]


@pytest.mark.parametrize(
    ("change", "code", "field"), [row[1:] for row in COMPOSITIONS], ids=[row[0] for row in COMPOSITIONS]
)
def test_a_broken_composition_gets_exactly_its_finding(
    composed_document: Document, change: Callable[[Document], None], code: str, field: str
) -> None:
    change(composed_document)
    data = json.dumps(composed_document).encode()
    assert findings_of(parse_contract, data) == [(code, f"pipeline-contract.json#composition{field}")]


def test_a_composition_gets_every_finding_at_once(composed_document: Document) -> None:
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


# --- descriptors ------------------------------------------------------------------------------------

JAR, IMAGE = ("artifacts", 0), ("artifacts", 1)
HEX = "0a" * 32
BLANK, SHAPE = "{0} is required", DESCRIPTOR_PREAMBLE

DESCRIPTORS = [
    (
        "unknown member",
        put("owner", 1),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "owner",
        SHAPE + 'Unrecognized field "owner"',
    ),
    (
        "unknown scope",
        put(*JAR, "scope", "x"),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "artifacts[0].scope",
        SHAPE + 'Unrecognized field "scope"',
    ),
    (
        "unknown runtime",
        put(*IMAGE, "runtime", "x"),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "artifacts[1].runtime",
        SHAPE + 'Unrecognized field "runtime"',
    ),
    (
        "schemaVersion absent",
        put("schemaVersion", ABSENT),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        SHAPE + "Unsupported pipeline release schemaVersion 0",
    ),
    (
        "schemaVersion 2",
        put("schemaVersion", 2),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        SHAPE + "Unsupported pipeline release schemaVersion 2",
    ),
    (
        "schemaVersion a string",
        put("schemaVersion", "1"),
        "DESCRIPTOR_WRONG_TYPE",
        "schemaVersion",
        SHAPE + "schemaVersion must be an integer",
    ),
    (
        "pipelineId absent",
        put("pipelineId", ABSENT),
        "DESCRIPTOR_MISSING_MEMBER",
        "pipelineId",
        SHAPE + "pipelineId is required",
    ),
    (
        "pipelineId null",
        put("pipelineId", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "pipelineId",
        SHAPE + "pipelineId is required",
    ),
    (
        "pipelineId blank",
        put("pipelineId", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "pipelineId",
        "pipelineId is required",
    ),
    (
        "pipelineId an object",
        put("pipelineId", {}),
        "DESCRIPTOR_WRONG_TYPE",
        "pipelineId",
        SHAPE + "pipelineId must be a string",
    ),
    (
        "contractVersion blank",
        put("contractVersion", " "),
        "DESCRIPTOR_BLANK_MEMBER",
        "contractVersion",
        "contractVersion is required",
    ),
    (
        "contractVersion null",
        put("contractVersion", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "contractVersion",
        SHAPE + "contractVersion is required",
    ),
    (
        "releaseVersion blank",
        put("releaseVersion", "\n"),
        "DESCRIPTOR_BLANK_MEMBER",
        "releaseVersion",
        "releaseVersion is required",
    ),
    (
        "releaseVersion absent",
        put("releaseVersion", ABSENT),
        "DESCRIPTOR_MISSING_MEMBER",
        "releaseVersion",
        SHAPE + "releaseVersion is required",
    ),
    (
        "releaseVersion too long",
        put("releaseVersion", LONG),
        "IDENTITY_TOO_LONG",
        "releaseVersion",
        SHAPE + "releaseVersion is longer than 500 characters",
    ),
    (
        "releaseVersion a number",
        put("releaseVersion", 1.0),
        "DESCRIPTOR_WRONG_TYPE",
        "releaseVersion",
        SHAPE + "releaseVersion must be a string",
    ),
    (
        "artifacts absent",
        put("artifacts", ABSENT),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts null",
        put("artifacts", None),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts empty",
        put("artifacts", []),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts an object",
        put("artifacts", {}),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts",
        SHAPE + "artifacts must be an array",
    ),
    (
        "a null artifact",
        put("artifacts", "append", None),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[2]",
        SHAPE + "artifacts[2] must be an object",
    ),
    (
        "a string artifact",
        put("artifacts", "append", "jar"),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[2]",
        SHAPE + "artifacts[2] must be an object",
    ),
    (
        "artifactId blank",
        put(*JAR, "artifactId", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].artifactId",
        "artifactId is required",
    ),
    (
        "artifactId absent",
        put(*JAR, "artifactId", ABSENT),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].artifactId",
        SHAPE + "artifactId is required",
    ),
    (
        "artifactId too long",
        put(*IMAGE, "artifactId", LONG),
        "IDENTITY_TOO_LONG",
        "artifacts[1].artifactId",
        SHAPE + "artifactId is longer than 500 characters",
    ),
    (
        "kind absent",
        put(*JAR, "kind", ABSENT),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].kind",
        SHAPE + "kind is required",
    ),
    (
        "kind null",
        put(*JAR, "kind", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].kind",
        SHAPE + "kind is required",
    ),
    (
        "kind blank",
        put(*JAR, "kind", " "),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].kind",
        "kind is required",
    ),
    (
        "kind a number",
        put(*JAR, "kind", 1),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].kind",
        SHAPE + "kind must be a string",
    ),
    (
        "kind unknown",
        put(*JAR, "kind", "War"),
        "ARTIFACT_KIND_UNSUPPORTED",
        "artifacts[0].kind",
        "Unsupported release artifact kind War",
    ),
    (
        "kind with braces",
        put(*JAR, "kind", "{kind}{"),
        "ARTIFACT_KIND_UNSUPPORTED",
        "artifacts[0].kind",
        "Unsupported release artifact kind {kind}{",
    ),
    ("uri blank", put(*IMAGE, "uri", ""), "DESCRIPTOR_BLANK_MEMBER", "artifacts[1].uri", "uri is required"),
    (
        "uri null",
        put(*JAR, "uri", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].uri",
        SHAPE + "uri is required",
    ),
    (
        "digest blank",
        put(*JAR, "digest", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].digest",
        "digest is required",
    ),
    (
        "digest absent",
        put(*IMAGE, "digest", ABSENT),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[1].digest",
        SHAPE + "digest is required",
    ),
    (
        "digest of another algorithm",
        put(*JAR, "digest", "md5:" + HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest of a remote artifact without the prefix",
        put(*IMAGE, "digest", HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[1].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest with an upper-case prefix",
        put(*JAR, "digest", "SHA256:" + HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest too short",
        put(*JAR, "digest", "sha256:0a"),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest with a newline",
        put(*JAR, "digest", f"sha256:{HEX}\n"),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest in upper case",
        put(*JAR, "digest", "sha256:" + HEX.upper()),
        "ARTIFACT_DIGEST_UPPER_CASE",
        "artifacts[0].digest",
        "Release artifact digest must be in lower case: an upper-case one matches no file",
    ),
    (
        "digest endless",
        put(*IMAGE, "digest", "sha256:" + LONG),
        "IDENTITY_TOO_LONG",
        "artifacts[1].digest",
        SHAPE + "digest is longer than 500 characters",
    ),
    (
        "stepIds a string",
        put(*JAR, "stepIds", "a"),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].stepIds",
        SHAPE + "stepIds must be an array",
    ),
    (
        "a null step id",
        put(*JAR, "stepIds", "append", None),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].stepIds[1]",
        SHAPE + "stepIds[1] must be a string",
    ),
    (
        "a number among the capabilities",
        put(*JAR, "capabilities", [1]),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].capabilities[0]",
        SHAPE + "capabilities[0] must be a string",
    ),
    (
        "U+0000 in the uri",
        put(*JAR, "uri", "a\0"),
        "DOCUMENT_BAD_CHARACTER",
        "artifacts[0].uri",
        SHAPE + "U+0000 and lone surrogates cannot be stored",
    ),
]


@pytest.mark.parametrize(
    ("change", "code", "field", "message"),
    [row[1:] for row in DESCRIPTORS],
    ids=[row[0] for row in DESCRIPTORS],
)
def test_a_broken_descriptor_gets_exactly_its_finding(
    descriptor_document: Document, change: Callable[[Document], None], code: str, field: str, message: str
) -> None:
    change(descriptor_document)
    with pytest.raises(DocumentError) as caught:
        parse_descriptor(json.dumps(descriptor_document).encode())
    found = [(finding.code, finding.field, finding.message) for finding in caught.value.findings]
    assert found == [(code, f"pipeline-release.json#{field}", message)]
    assert str(caught.value) == message


def test_a_descriptor_gets_every_finding_at_once_and_those_of_its_shape_first(
    descriptor_document: Document,
) -> None:
    descriptor_document["contractVersion"] = ""
    descriptor_document["artifacts"][0].update(kind="war", digest="md5:1", scope="x")
    descriptor_document["artifacts"][1]["uri"] = "\0"
    del descriptor_document["artifacts"][1]["artifactId"]
    assert findings_of(parse_descriptor, json.dumps(descriptor_document).encode()) == [
        ("DOCUMENT_BAD_CHARACTER", "pipeline-release.json#artifacts[1].uri"),
        ("DESCRIPTOR_UNKNOWN_MEMBER", "pipeline-release.json#artifacts[0].scope"),
        ("DESCRIPTOR_MISSING_MEMBER", "pipeline-release.json#artifacts[1].artifactId"),
        ("DESCRIPTOR_BLANK_MEMBER", "pipeline-release.json#contractVersion"),
        ("ARTIFACT_KIND_UNSUPPORTED", "pipeline-release.json#artifacts[0].kind"),
        ("ARTIFACT_DIGEST_MALFORMED", "pipeline-release.json#artifacts[0].digest"),
    ]


# --- bytes that are no document ---------------------------------------------------------------------

BYTES = [
    ("nothing", b"", "DOCUMENT_NOT_JSON"),
    ("white space", b" \n", "DOCUMENT_NOT_JSON"),
    ("text", b"hello", "DOCUMENT_NOT_JSON"),
    ("an open object", b'{"schemaVersion":1', "DOCUMENT_NOT_JSON"),
    ("a trailing comma", b'{"schemaVersion":1,}', "DOCUMENT_NOT_JSON"),
    ("a comment", b"{} // done", "DOCUMENT_NOT_JSON"),
    ("two documents", b"{}{}", "DOCUMENT_NOT_JSON"),
    ("single quotes", b"{'schemaVersion':1}", "DOCUMENT_NOT_JSON"),
    ("a control character in a string", b'{"module":"\x01"}', "DOCUMENT_NOT_JSON"),
    ("null", b"null", "DOCUMENT_NOT_OBJECT"),
    ("an array", b"[{}]", "DOCUMENT_NOT_OBJECT"),
    ("a string", b'"{}"', "DOCUMENT_NOT_OBJECT"),
    ("a byte order mark", b"\xef\xbb\xbf{}", "DOCUMENT_HAS_BOM"),
    ("Latin-1", '{"module":"café"}'.encode("latin-1"), "DOCUMENT_NOT_UTF8"),
    ("UTF-16", '{"module":"café"}'.encode("utf-16"), "DOCUMENT_NOT_UTF8"),
    ("an encoded surrogate", b'{"module":"\xed\xa0\x80"}', "DOCUMENT_NOT_UTF8"),
    ("an overlong encoding", b'{"module":"\xc0\x80"}', "DOCUMENT_NOT_UTF8"),
    ("65 levels", json.dumps(NESTED).encode(), "DOCUMENT_TOO_DEEP"),
    ("endless levels", b'{"a":' + b"[" * 500_000, "DOCUMENT_TOO_DEEP"),
    ("an endless number", b'{"schemaVersion":' + b"1" * 5000 + b"}", "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    ("too many values", b'{"steps":[' + b"0," * 100_000 + b"0]}", "DOCUMENT_TOO_MANY_VALUES"),
]


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in BYTES], ids=[row[0] for row in BYTES])
@pytest.mark.parametrize(
    ("parse", "name", "preamble"),
    [
        (parse_contract, "pipeline-contract.json", CONTRACT_PREAMBLE),
        (parse_descriptor, "pipeline-release.json", DESCRIPTOR_PREAMBLE),
    ],
    ids=["contract", "descriptor"],
)
def test_bytes_that_are_no_document_are_refused(
    parse: Callable[[bytes], object], name: str, preamble: str, data: bytes, code: str
) -> None:
    assert findings_of(parse, data) == [(code, name)]
    with pytest.raises(DocumentError, match=f"^{preamble}"):
        parse(data)


@pytest.mark.parametrize(
    ("parse", "limit", "name"),
    [
        (parse_contract, MAX_CONTRACT_BYTES, "pipeline-contract.json"),
        (parse_descriptor, MAX_DESCRIPTOR_BYTES, "pipeline-release.json"),
    ],
)
def test_a_document_one_byte_too_large_is_refused(
    parse: Callable[[bytes], object], limit: int, name: str
) -> None:
    assert findings_of(parse, b"{}" + b" " * (limit - 1)) == [("DOCUMENT_TOO_LARGE", name)]
    assert ("DOCUMENT_TOO_LARGE", name) not in findings_of(parse, b"{}" + b" " * (limit - 2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"module":"a","module":"b"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        ('"module":"a","module":"a","module":"a"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        (r'"module":"a","\u006dodule":"b"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        ('"steps":[{},{"kind":"a","kind":"b"}]', [("DOCUMENT_DUPLICATE_KEY", "#steps[1].kind")]),
        ('"canonicalTypes":{"T":{"a":1e999}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        ('"canonicalTypes":{"T":{"a":-Infinity}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        ('"canonicalTypes":{"T":{"a":NaN}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        (
            '"canonicalTypes":{"T":{"a":NaN,"b":1,"b":2}},"module":"a","module":7',
            [
                ("DOCUMENT_NUMBER_OUT_OF_RANGE", ""),
                ("DOCUMENT_DUPLICATE_KEY", "#module"),
                ("DOCUMENT_DUPLICATE_KEY", "#canonicalTypes.T.b"),
                ("CONTRACT_WRONG_TYPE", "#module"),
            ],
        ),
    ],
)
def test_json_that_parsers_read_differently_is_refused(text: str, expected: Expected) -> None:
    data = '{"schemaVersion":1,"pipelineId":"p","contractVersion":"c","contractHash":"h",' + text + "}"
    found = findings_of(parse_contract, data.encode())
    assert found == [(code, f"pipeline-contract.json{field}") for code, field in expected]


def test_findings_are_bounded() -> None:
    data = json.dumps({f"m{number}": 0 for number in range(2000)}).encode()
    found = findings_of(parse_contract, data)
    assert len(found) == 501
    assert found[-1] == ("DOCUMENT_TOO_MANY_FINDINGS", "pipeline-contract.json")


def test_findings_quote_hostile_names_short_and_storable() -> None:
    document = {"\0\ud800" + "x" * 10_000: 1}
    with pytest.raises(DocumentError) as caught:
        parse_contract(json.dumps(document).encode())
    for finding in caught.value.findings:
        assert len(finding.field) < 500
        assert len(finding.message) < 500
        assert "\0" not in finding.field + finding.message
        (finding.field + finding.message).encode()
