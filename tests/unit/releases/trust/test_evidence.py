import json
from typing import Any

from releases.models import Attachment
from releases.states import AttachmentKind
from releases.trust.attachments import MAX_ATTACHMENT_BYTES, examine
from tests import signing as making
from tests.cases import cases
from tests.raising import error_of
from tests.unit.wire.documents.examples import DIGEST, NEWER, OLDER, OTHER_DIGEST, Document, artifact, changed
from wire.documents.descriptor import parse_descriptor
from wire.documents.execution_statement import PAYLOAD_TYPE
from wire.documents.json_reader import MAX_VALUES
from wire.findings import DocumentError

OTHER, ABSENT = OTHER_DIGEST, "sha256:" + "c" * 64
APP, MORE = "artifacts[0]", "artifacts[1]"
FIRST = artifact("app", "local-file", "app.zip", DIGEST, ["Validate", "Ship"], "checkpoints")
SECOND = {**FIRST, "artifactId": "more", "digest": OTHER, "uri": "more.zip"}
RELEASE: Document = {**OLDER, "artifacts": [FIRST]}
TWO: Document = {**OLDER, "artifacts": [FIRST, SECOND]}
JARS = [{**FIRST, "kind": "jar", "uri": "file:///app.zip"}, {**SECOND, "kind": "jar", "uri": "maven:org.x:more:1"}]
CARRIED: Document = {**NEWER, "artifacts": JARS, "compiledTruthArtifactId": "app"}
MEMBERS: Document = {"pipelineId": "other", "contractVersion": "d", "releaseVersion": "1.1"}
ARTIFACT: Document = {"artifactId": "other", "digest": ABSENT, "stepIds": ["Validate"], "capabilities": []}


def examined(attached: Any, release: Document = RELEASE) -> Attachment:
    content = attached if isinstance(attached, bytes) else json.dumps(attached).encode()
    return examine(content, parse_descriptor(json.dumps(release).encode()))


def findings_of(evidence: Attachment) -> list[tuple[str, str, str]]:
    return [(finding["code"], finding["field"], finding["severity"]) for finding in evidence.findings]


@cases(
    ("attached", "kind"),
    [
        (making.envelope(RELEASE), AttachmentKind.SIGNATURE),
        (making.statement(DIGEST), AttachmentKind.PROVENANCE),
        (making.envelope(making.statement(DIGEST), payload_type=PAYLOAD_TYPE), AttachmentKind.PROVENANCE),
        (making.cyclone(digest=DIGEST), AttachmentKind.SBOM),
        (making.spdx(digest=DIGEST), AttachmentKind.SBOM),
        ({**making.cyclone(), "properties": [0] * (MAX_VALUES + 1)}, AttachmentKind.SBOM),
        ({**making.spdx(), "relationships": [], "documentDescribes": ["SPDXRef-app"]}, AttachmentKind.SBOM),
    ],
)
def test_the_content_determines_the_kind(attached: Any, kind: AttachmentKind) -> None:
    evidence = examined(attached)
    assert (evidence.kind, evidence.findings, evidence.contradicts) == (kind, [], False)


@cases(
    ("attached", "code"),
    [
        (b"[]", "DOCUMENT_NOT_OBJECT"),
        (b'{"a": "' + b"x" * MAX_ATTACHMENT_BYTES + b'"}', "DOCUMENT_TOO_LARGE"),
        ({"bomFormat": "CycloneDX", "specVersion": "1.6", "a": [0] * 500_000}, "DOCUMENT_TOO_MANY_VALUES"),
        ({}, "ATTACHMENT_KIND_UNKNOWN"),
        (making.envelope(RELEASE, payload_type="application/json"), "ATTACHMENT_KIND_UNKNOWN"),
        (making.envelope({**RELEASE, "_type": 1}, payload_type=PAYLOAD_TYPE), "ATTACHMENT_WRONG_TYPE"),
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
    assert code in {finding.code for finding in error_of(DocumentError, examined, attached).findings}


@cases(
    ("attached", "finding"),
    [
        (
            making.envelope({**RELEASE, "releaseVersion": "2.0"}),
            ("SIGNATURE_OTHER_DESCRIPTOR", "pipeline-release.dsse.json#payload", "error"),
        ),
        (making.statement(DIGEST, OTHER), ("PROVENANCE_SUBJECT_UNKNOWN", "provenance#subject[1]", "error")),
        (making.cyclone(digest=OTHER), ("SBOM_SUBJECT_UNKNOWN", "sbom#metadata.component", "error")),
        (making.spdx(digest=OTHER), ("SBOM_SUBJECT_UNKNOWN", "sbom#packages[0]", "error")),
    ],
)
def test_a_document_about_something_else_has_a_finding(attached: Any, finding: tuple[str, str, str]) -> None:
    evidence = examined(attached)
    assert findings_of(evidence) == [finding]
    assert evidence.contradicts


def changes(release: Document, kind: str, uri: str) -> list[Document]:
    """Return the release with each of its members changed alone, and with other or reordered artifacts."""
    members = ARTIFACT | {"kind": kind, "uri": uri}
    first, second = release["artifacts"]
    return [
        *(changed(release, name, value) for name, value in MEMBERS.items()),
        *(changed(release, f"{MORE}.{name}", value) for name, value in members.items()),
        {**release, "artifacts": [first]},
        {**release, "artifacts": [second, first]},
        changed(changed(release, f"{APP}.digest", OTHER_DIGEST), f"{MORE}.digest", DIGEST),
    ]


@cases(
    ("release", "other"),
    [
        *((TWO, other) for other in changes(TWO, "jar", "other.zip")),
        *((CARRIED, other) for other in changes(CARRIED, "lambda-zip", "maven:org.x:more:2")),
        (CARRIED, {**CARRIED, "compiledTruthArtifactId": "more"}),
    ],
)
def test_a_signature_is_valid_for_exactly_the_signed_descriptor(release: Document, other: Document) -> None:
    for signed, released in ((release, other), (other, release)):
        evidence = examined(making.envelope(signed), released)
        assert [code for code, _, _ in findings_of(evidence)] == ["SIGNATURE_OTHER_DESCRIPTOR"]
        assert evidence.contradicts
        assert examined(making.envelope(signed), signed).findings == []


@cases("subjects", [(ABSENT, OTHER_DIGEST), (DIGEST, ABSENT)])
def test_every_subject_of_a_provenance_counts_in_a_signed_one_too(subjects: tuple[str, str]) -> None:
    statement = making.statement(*subjects)
    codes = [code for code, _, _ in findings_of(examined(statement, TWO))]
    assert codes == ["PROVENANCE_SUBJECT_UNKNOWN", "PROVENANCE_ARTIFACT_UNCOVERED"]
    assert examined(making.envelope(statement, payload_type=PAYLOAD_TYPE), TWO).contradicts
