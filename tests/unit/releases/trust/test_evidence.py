"""Attachments: the content determines the kind, is parsed strictly, and is compared with the descriptor."""

import json
from typing import Any

import pytest

from releases.states import AttachmentKind
from releases.trust.evidence import MAX_ATTACHMENT_BYTES, Evidence, examine
from releases.trust.provenance import STATEMENT_TYPE
from tests import signing as making
from tests.cases import cases
from wire.documents.descriptor import parse_descriptor
from wire.documents.json_reader import MAX_VALUES
from wire.findings import DocumentError

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
RELEASE = {
    "schemaVersion": 1,
    "pipelineId": "org.example.orders",
    "contractVersion": "c",
    "releaseVersion": "1.0",
    "artifacts": [{"artifactId": "app", "kind": "local-file", "uri": "app.zip", "digest": DIGEST}],
}
TWO = {
    **RELEASE,
    "artifacts": [
        *RELEASE["artifacts"],  # type: ignore[misc]
        {"artifactId": "more", "kind": "jar", "uri": "more.jar", "digest": OTHER},
        {"artifactId": "image", "kind": "container-image", "uri": "r/i", "digest": "sha256:" + "c" * 64},
    ],
}
OTHER_DESCRIPTOR = ("SIGNATURE_OTHER_DESCRIPTOR", "pipeline-release.dsse.json#payload", "error")


def examined(attached: Any, release: dict[str, Any] = RELEASE) -> Evidence:
    content = attached if isinstance(attached, bytes) else json.dumps(attached).encode()
    return examine(content, parse_descriptor(json.dumps(release).encode()))


def refused(attached: Any) -> set[str]:
    with pytest.raises(DocumentError) as caught:
        examined(attached)
    return {finding.code for finding in caught.value.findings}


def findings_of(evidence: Evidence) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.field, finding.severity.value) for finding in evidence.findings]


@cases(
    ("attached", "kind"),
    [
        (making.envelope(RELEASE), AttachmentKind.SIGNATURE),
        (making.statement(DIGEST), AttachmentKind.PROVENANCE),
        (making.envelope(making.statement(DIGEST), payload_type=STATEMENT_TYPE), AttachmentKind.PROVENANCE),
        (making.cyclone(digest=DIGEST), AttachmentKind.SBOM),
        (making.spdx(digest=DIGEST), AttachmentKind.SBOM),
        ({**making.cyclone(), "properties": [0] * (MAX_VALUES + 1)}, AttachmentKind.SBOM),
        ({**making.spdx(), "relationships": [], "documentDescribes": ["SPDXRef-app"]}, AttachmentKind.SBOM),
    ],
)
def test_the_content_determines_the_kind(attached: Any, kind: AttachmentKind) -> None:
    evidence = examined(attached)
    assert (evidence.kind, evidence.findings, evidence.contradicts) == (kind, (), False)


@cases(
    ("attached", "code"),
    [
        (b"[]", "DOCUMENT_NOT_OBJECT"),
        (b'{"a": "' + b"x" * MAX_ATTACHMENT_BYTES + b'"}', "DOCUMENT_TOO_LARGE"),
        ({"bomFormat": "CycloneDX", "specVersion": "1.6", "a": [0] * 500_000}, "DOCUMENT_TOO_MANY_VALUES"),
        ({}, "ATTACHMENT_KIND_UNKNOWN"),
        (making.envelope(RELEASE, payload_type="application/json"), "ATTACHMENT_KIND_UNKNOWN"),
        (making.envelope({**RELEASE, "_type": 1}, payload_type=STATEMENT_TYPE), "ATTACHMENT_WRONG_TYPE"),
        ({**making.statement(DIGEST), "predicateType": "https://slsa.dev/provenance/v0.2"}, "PROVENANCE_UNSUPPORTED"),
        (making.statement(), "PROVENANCE_NO_SUBJECT"),
        (making.statement(DIGEST, runDetails={"builder": {}}), "ATTACHMENT_MISSING_MEMBER"),
        ({**making.cyclone(), "bomFormat": "Cyclone"}, "SBOM_FORMAT_UNSUPPORTED"),
        ({**making.cyclone(), "specVersion": "2.0"}, "SBOM_FORMAT_UNSUPPORTED"),
        ({**making.cyclone(), "components": [{"version": "1"}]}, "ATTACHMENT_MISSING_MEMBER"),
        ({**making.spdx(), "spdxVersion": "SPDX-1.2"}, "SBOM_FORMAT_UNSUPPORTED"),
        ({**making.spdx(), "name": " "}, "ATTACHMENT_BLANK_MEMBER"),
    ],
)
def test_an_unreadable_document_is_rejected_with_its_code(attached: Any, code: str) -> None:
    assert code in refused(attached)


@cases(
    ("attached", "finding"),
    [
        (making.envelope({**RELEASE, "releaseVersion": "2.0"}), OTHER_DESCRIPTOR),
        (making.statement(DIGEST, OTHER), ("PROVENANCE_SUBJECT_UNKNOWN", "provenance#subject[1]", "error")),
        (making.cyclone(digest=OTHER), ("SBOM_SUBJECT_UNKNOWN", "sbom#metadata.component", "error")),
        (making.spdx(digest=OTHER), ("SBOM_SUBJECT_UNKNOWN", "sbom#packages[0]", "error")),
    ],
)
def test_a_document_about_something_else_has_a_finding(attached: Any, finding: tuple[str, str, str]) -> None:
    evidence = examined(attached)
    assert findings_of(evidence) == [finding]
    assert evidence.contradicts
