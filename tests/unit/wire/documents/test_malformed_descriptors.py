"""Malformed descriptors and their findings (wire protocol A.2, A.3 rules 4 to 10).

A row names what it breaks, the path to set (its last item is the value; `...` deletes), the code, the field
and the message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from wire.documents.descriptor import parse_descriptor
from wire.findings import DocumentError
from wire.identifying import RULE, SEGMENT_RULE

Document = dict[str, Any]
Change = Callable[[Document, tuple[Any, ...]], None]
Findings = Callable[[Callable[[bytes], object], bytes], list[tuple[str, str]]]

LONG = "x" * 501
JAR, IMAGE = ("artifacts", 0), ("artifacts", 1)
HEX = "0a" * 32
SHAPE = "Invalid pipeline release descriptor JSON: "

DESCRIPTORS: list[tuple[str, tuple[Any, ...], str, str, str]] = [
    (
        "unknown member",
        ("owner", 1),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "owner",
        SHAPE + 'Unrecognized field "owner"',
    ),
    (
        "unknown scope",
        (*JAR, "scope", "x"),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "artifacts[0].scope",
        SHAPE + 'Unrecognized field "scope"',
    ),
    (
        "unknown runtime",
        (*IMAGE, "runtime", "x"),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "artifacts[1].runtime",
        SHAPE + 'Unrecognized field "runtime"',
    ),
    (
        "schemaVersion absent",
        ("schemaVersion", ...),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        SHAPE + "Unsupported pipeline release schemaVersion 0",
    ),
    (
        "schemaVersion 2",
        ("schemaVersion", 2),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        SHAPE + "Unsupported pipeline release schemaVersion 2",
    ),
    (
        "schemaVersion a string",
        ("schemaVersion", "1"),
        "DESCRIPTOR_WRONG_TYPE",
        "schemaVersion",
        SHAPE + "schemaVersion must be an integer",
    ),
    (
        "pipelineId absent",
        ("pipelineId", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "pipelineId",
        SHAPE + "pipelineId is required",
    ),
    (
        "pipelineId null",
        ("pipelineId", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "pipelineId",
        SHAPE + "pipelineId is required",
    ),
    (
        "pipelineId blank",
        ("pipelineId", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "pipelineId",
        "pipelineId is required",
    ),
    (
        "pipelineId an object",
        ("pipelineId", {}),
        "DESCRIPTOR_WRONG_TYPE",
        "pipelineId",
        SHAPE + "pipelineId must be a string",
    ),
    (
        "contractVersion blank",
        ("contractVersion", " "),
        "DESCRIPTOR_BLANK_MEMBER",
        "contractVersion",
        "contractVersion is required",
    ),
    (
        "contractVersion null",
        ("contractVersion", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "contractVersion",
        SHAPE + "contractVersion is required",
    ),
    (
        "releaseVersion blank",
        ("releaseVersion", "\n"),
        "DESCRIPTOR_BLANK_MEMBER",
        "releaseVersion",
        "releaseVersion is required",
    ),
    (
        "releaseVersion absent",
        ("releaseVersion", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "releaseVersion",
        SHAPE + "releaseVersion is required",
    ),
    (
        "releaseVersion too long",
        ("releaseVersion", LONG),
        "IDENTITY_TOO_LONG",
        "releaseVersion",
        SHAPE + "releaseVersion is longer than 500 characters",
    ),
    (
        "releaseVersion a number",
        ("releaseVersion", 1.0),
        "DESCRIPTOR_WRONG_TYPE",
        "releaseVersion",
        SHAPE + "releaseVersion must be a string",
    ),
    (
        "artifacts absent",
        ("artifacts", ...),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts null",
        ("artifacts", None),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts empty",
        ("artifacts", []),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts an object",
        ("artifacts", {}),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts",
        SHAPE + "artifacts must be an array",
    ),
    (
        "a null artifact",
        ("artifacts", "append", None),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[2]",
        SHAPE + "artifacts[2] must be an object",
    ),
    (
        "a string artifact",
        ("artifacts", "append", "jar"),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[2]",
        SHAPE + "artifacts[2] must be an object",
    ),
    (
        "artifactId blank",
        (*JAR, "artifactId", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].artifactId",
        "artifactId is required",
    ),
    (
        "artifactId absent",
        (*JAR, "artifactId", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].artifactId",
        SHAPE + "artifactId is required",
    ),
    (
        "artifactId too long",
        (*IMAGE, "artifactId", LONG),
        "IDENTITY_TOO_LONG",
        "artifacts[1].artifactId",
        SHAPE + "artifactId is longer than 500 characters",
    ),
    (
        "kind absent",
        (*JAR, "kind", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].kind",
        SHAPE + "kind is required",
    ),
    (
        "kind null",
        (*JAR, "kind", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].kind",
        SHAPE + "kind is required",
    ),
    (
        "kind blank",
        (*JAR, "kind", " "),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].kind",
        "kind is required",
    ),
    (
        "kind a number",
        (*JAR, "kind", 1),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].kind",
        SHAPE + "kind must be a string",
    ),
    (
        "kind unknown",
        (*JAR, "kind", "War"),
        "ARTIFACT_KIND_UNSUPPORTED",
        "artifacts[0].kind",
        "Unsupported release artifact kind War",
    ),
    (
        "kind with braces",
        (*JAR, "kind", "{kind}{"),
        "ARTIFACT_KIND_UNSUPPORTED",
        "artifacts[0].kind",
        "Unsupported release artifact kind {kind}{",
    ),
    ("uri blank", (*IMAGE, "uri", ""), "DESCRIPTOR_BLANK_MEMBER", "artifacts[1].uri", "uri is required"),
    (
        "uri null",
        (*JAR, "uri", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].uri",
        SHAPE + "uri is required",
    ),
    (
        "digest blank",
        (*JAR, "digest", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "artifacts[0].digest",
        "digest is required",
    ),
    (
        "digest absent",
        (*IMAGE, "digest", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[1].digest",
        SHAPE + "digest is required",
    ),
    (
        "digest of another algorithm",
        (*JAR, "digest", "md5:" + HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest of a remote artifact without the prefix",
        (*IMAGE, "digest", HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[1].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest with an upper-case prefix",
        (*JAR, "digest", "SHA256:" + HEX),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest too short",
        (*JAR, "digest", "sha256:0a"),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "digest too long",
        (*JAR, "digest", f"sha256:{HEX}0"),
        "ARTIFACT_DIGEST_MALFORMED",
        "artifacts[0].digest",
        "Release artifact digest must use sha256:<hex>",
    ),
    (
        "pipelineId of two segments",
        ("pipelineId", "a/b"),
        "IDENTITY_MALFORMED",
        "pipelineId",
        f"{SHAPE}pipelineId {SEGMENT_RULE}",
    ),
    (
        "releaseVersion that climbs",
        ("releaseVersion", "../1.0"),
        "IDENTITY_MALFORMED",
        "releaseVersion",
        f"{SHAPE}releaseVersion {SEGMENT_RULE}",
    ),
    (
        "digest with a newline",
        (*JAR, "digest", f"sha256:{HEX}\n"),
        "IDENTITY_MALFORMED",
        "artifacts[0].digest",
        f"{SHAPE}digest {RULE}",
    ),
    (
        "digest in upper case",
        (*JAR, "digest", "sha256:" + HEX.upper()),
        "ARTIFACT_DIGEST_UPPER_CASE",
        "artifacts[0].digest",
        "Release artifact digest must be in lower case: an upper-case digest matches no file",
    ),
    (
        "digest endless",
        (*IMAGE, "digest", "sha256:" + LONG),
        "IDENTITY_TOO_LONG",
        "artifacts[1].digest",
        SHAPE + "digest is longer than 500 characters",
    ),
    (
        "stepIds a string",
        (*JAR, "stepIds", "a"),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].stepIds",
        SHAPE + "stepIds must be an array",
    ),
    (
        "a null step id",
        (*JAR, "stepIds", "append", None),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].stepIds[1]",
        SHAPE + "stepIds[1] must be a string",
    ),
    (
        "a number among the capabilities",
        (*JAR, "capabilities", [1]),
        "DESCRIPTOR_WRONG_TYPE",
        "artifacts[0].capabilities[0]",
        SHAPE + "capabilities[0] must be a string",
    ),
    (
        "U+0000 in the uri",
        (*JAR, "uri", "a\0"),
        "DOCUMENT_BAD_CHARACTER",
        "artifacts[0].uri",
        SHAPE + "U+0000 and lone surrogates cannot be stored",
    ),
]


@pytest.mark.parametrize(
    ("path", "code", "field", "message"),
    [row[1:] for row in DESCRIPTORS],
    ids=[row[0] for row in DESCRIPTORS],
)
def test_a_broken_descriptor_gets_exactly_its_finding(
    descriptor_document: Document, change: Change, path: tuple[Any, ...], code: str, field: str, message: str
) -> None:
    change(descriptor_document, path)
    with pytest.raises(DocumentError) as caught:
        parse_descriptor(json.dumps(descriptor_document).encode())
    found = [(finding.code, finding.field, finding.message) for finding in caught.value.findings]
    assert found == [(code, f"pipeline-release.json#{field}", message)]
    assert str(caught.value) == message


def test_a_descriptor_gets_every_finding_at_once_and_those_of_its_shape_first(
    descriptor_document: Document, findings_of: Findings
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
