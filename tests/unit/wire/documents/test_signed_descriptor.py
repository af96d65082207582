"""A signature of a descriptor covers every member, and attachments are about exact digests."""

from typing import Any

from releases.trust.evidence import Evidence, examine
from releases.trust.provenance import STATEMENT_TYPE
from tests import signing as making
from tests.cases import cases
from tests.unit.wire.documents.examples import DIGEST, NEWER, OLDER, OTHER_DIGEST, Document, artifact, changed, encoded
from wire.documents.descriptor import parse_descriptor

ABSENT = "sha256:" + "c" * 64
APP, MORE = "artifacts[0]", "artifacts[1]"
FIRST = artifact("app", "local-file", "app.zip", DIGEST, ["Validate", "Ship"], "checkpoints")
SECOND = {**FIRST, "artifactId": "more", "digest": OTHER_DIGEST, "uri": "more.zip"}
RELEASE: Document = {**OLDER, "artifacts": [FIRST, SECOND]}
CARRIED: Document = {
    **NEWER,
    "artifacts": [
        {**FIRST, "kind": "jar", "uri": "file:///app.zip"},
        {**SECOND, "kind": "jar", "uri": "maven:org.x:more:1"},
    ],
    "compiledTruthArtifactId": "app",
}
MEMBERS: Document = {"pipelineId": "other", "contractVersion": "d", "releaseVersion": "1.1"}
ARTIFACT: Document = {"artifactId": "other", "digest": ABSENT, "stepIds": ["Validate"], "capabilities": []}


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


def examined(signed: Any, release: Document = RELEASE) -> Evidence:
    return examine(making.envelope(signed), parse_descriptor(encoded(release)))


def about(content: Any, release: Document = RELEASE) -> list[str]:
    return [finding.code for finding in examine(encoded(content), parse_descriptor(encoded(release))).findings]


@cases(
    ("release", "other"),
    [
        *((RELEASE, other) for other in changes(RELEASE, "jar", "other.zip")),
        *((CARRIED, other) for other in changes(CARRIED, "lambda-zip", "maven:org.x:more:2")),
        (CARRIED, {**CARRIED, "compiledTruthArtifactId": "more"}),
    ],
)
def test_a_signature_is_valid_for_exactly_the_signed_descriptor(release: Document, other: Document) -> None:
    for signed, released in ((release, other), (other, release)):
        evidence = examined(signed, released)
        assert [finding.code for finding in evidence.findings] == ["SIGNATURE_OTHER_DESCRIPTOR"]
        assert evidence.contradicts
        assert examined(signed, signed).findings == ()


@cases("subjects", [(ABSENT, OTHER_DIGEST), (DIGEST, ABSENT)])
def test_every_subject_of_a_provenance_counts_in_a_signed_one_too(subjects: tuple[str, str]) -> None:
    statement = making.statement(*subjects)
    assert about(statement) == ["PROVENANCE_SUBJECT_UNKNOWN", "PROVENANCE_ARTIFACT_UNCOVERED"]
    signed = making.envelope(statement, payload_type=STATEMENT_TYPE)
    assert examine(signed, parse_descriptor(encoded(RELEASE))).contradicts
