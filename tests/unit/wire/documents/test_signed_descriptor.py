"""The signature of a descriptor covers every member: each changed member invalidates it."""

import copy
import json
from typing import Any

from releases.trust.evidence import Evidence, examine
from releases.trust.provenance import STATEMENT_TYPE
from tests import signing as making
from tests.cases import cases
from wire.documents.descriptor import KINDS, ArtifactKind, Profile, parse_descriptor

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ARTIFACT = {
    "artifactId": "app",
    "kind": "local-file",
    "uri": "app.zip",
    "digest": DIGEST,
    "stepIds": ["Validate", "Ship"],
    "capabilities": ["checkpoints"],
}
SECOND = {**ARTIFACT, "artifactId": "more", "digest": OTHER, "uri": "more.zip"}
RELEASE: dict[str, Any] = {
    "schemaVersion": 1,
    "pipelineId": "org.example.orders",
    "contractVersion": "c",
    "releaseVersion": "1.0",
    "artifacts": [ARTIFACT, SECOND],
}
UNREADABLE = {"schemaVersion": 2}
"""Only one schema version exists, so bytes with another version do not parse as a descriptor."""


def examined(signed: Any, release: dict[str, Any] = RELEASE) -> Evidence:
    return examine(making.envelope(signed), parse_descriptor(json.dumps(release).encode()))


def with_artifact(place: int, **changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(RELEASE)
    changed["artifacts"][place] |= changes
    return changed


OTHER_MEMBERS = {"pipelineId": "org.example.other", "contractVersion": "d", "releaseVersion": "1.1", **UNREADABLE}
OTHER_ARTIFACT_MEMBERS: dict[str, Any] = {
    "artifactId": "other",
    "kind": "jar",
    "uri": "other.zip",
    "digest": "sha256:" + "c" * 64,
    "stepIds": ["Validate"],
    "capabilities": [],
}
CHANGES: dict[str, dict[str, Any]] = {
    **{name: {**RELEASE, name: value} for name, value in OTHER_MEMBERS.items()},
    **{
        f"{name} of artifact {place}": with_artifact(place, **{name: value})
        for place in (0, 1)
        for name, value in OTHER_ARTIFACT_MEMBERS.items()
    },
    "steps in another order": with_artifact(0, stepIds=["Ship", "Validate"]),
    "one artifact less": {**RELEASE, "artifacts": [ARTIFACT]},
    "the other artifact less": {**RELEASE, "artifacts": [SECOND]},
    "one artifact more": {**RELEASE, "artifacts": [ARTIFACT, SECOND, {**ARTIFACT, "artifactId": "third"}]},
    "artifacts in another order": {**RELEASE, "artifacts": [SECOND, ARTIFACT]},
    "digests exchanged": {**RELEASE, "artifacts": [{**ARTIFACT, "digest": OTHER}, {**SECOND, "digest": DIGEST}]},
}


def test_the_table_has_every_member() -> None:
    assert OTHER_MEMBERS.keys() | {"artifacts"} == RELEASE.keys()
    descriptor = parse_descriptor(json.dumps(RELEASE).encode())
    assert descriptor.normalised().keys() == RELEASE.keys()
    assert descriptor.normalised()["artifacts"][0].keys() == OTHER_ARTIFACT_MEMBERS.keys() == ARTIFACT.keys()


@cases("change", CHANGES)
def test_a_signature_is_invalid_for_a_descriptor_with_another_member(change: str) -> None:
    evidence = examined(CHANGES[change])
    assert [finding.code for finding in evidence.findings] == ["SIGNATURE_OTHER_DESCRIPTOR"]
    assert evidence.contradicts


@cases("change", [name for name in CHANGES if name not in UNREADABLE])
def test_a_signature_is_invalid_if_the_release_has_another_member(change: str) -> None:
    assert examined(RELEASE, CHANGES[change]).contradicts
    assert examined(CHANGES[change], CHANGES[change]).findings == ()


@cases("kind", KINDS[Profile.TPF_2026_08])
def test_a_signature_covers_the_kind_of_an_artifact(kind: ArtifactKind) -> None:
    assert examined(with_artifact(0, kind=kind.value)).contradicts is (kind.value != ARTIFACT["kind"])


# --- the profile tpf-2026-10 ---

CARRIED: dict[str, Any] = {
    **RELEASE,
    "artifacts": [
        {**ARTIFACT, "kind": "jar", "uri": "file:///app.zip"},
        {**SECOND, "kind": "jar", "uri": "maven:org.x:more:1"},
    ],
    "compiledTruthArtifactId": "app",
}


def without_carrier(release: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in release.items() if name != "compiledTruthArtifactId"}


def test_a_signature_covers_the_carrier_of_the_contract() -> None:
    assert examined(CARRIED, CARRIED).findings == ()
    other = {**CARRIED, "compiledTruthArtifactId": "more"}
    for signed, release in ((CARRIED, other), (other, CARRIED)):
        assert [finding.code for finding in examined(signed, release).findings] == ["SIGNATURE_OTHER_DESCRIPTOR"]


def test_a_signature_covers_the_profile() -> None:
    older = without_carrier(CARRIED)
    assert parse_descriptor(json.dumps(older).encode()).profile is Profile.TPF_2026_08
    assert examined(CARRIED, older).contradicts
    assert examined(older, CARRIED).contradicts


@cases(
    ("member", "value"),
    [
        ("artifactId", "else"),
        ("kind", "lambda-zip"),
        ("uri", "maven:org.x:more:2"),
        ("digest", "sha256:" + "c" * 64),
        ("stepIds", ["Ship", "Validate"]),
        ("capabilities", []),
    ],
)
def test_a_signature_covers_every_member_of_an_artifact_of_the_newer_profile(member: str, value: Any) -> None:
    artifact = {**CARRIED["artifacts"][1], member: value}
    changed = {**CARRIED, "artifacts": [CARRIED["artifacts"][0], artifact]}
    assert examined(changed, CARRIED).contradicts
    assert examined(CARRIED, changed).contradicts
    assert examined(changed, changed).findings == ()


def test_signed_bytes_of_the_newer_profile_must_keep_its_rules() -> None:
    broken = {**CARRIED, "compiledTruthArtifactId": "absent"}
    (finding,) = examined(broken, CARRIED).findings
    assert finding.message == "The signed bytes are not a release descriptor"


def test_a_signed_descriptor_may_have_another_layout() -> None:
    """Signatures cover the document, as in the older profile. The registration compares the bytes."""
    reordered = dict(reversed(CARRIED.items()))
    assert examined(reordered, CARRIED).findings == ()


# --- provenance and bills of materials are about bytes ---


def about(content: Any) -> list[str]:
    return [finding.code for finding in examine(json.dumps(content).encode(), _descriptor()).findings]


def _descriptor() -> Any:
    return parse_descriptor(json.dumps(RELEASE).encode())


def one_digit(digest: str, place: int) -> str:
    """Return `digest` with a different digit at `place` of its hexadecimal part."""
    text = digest.removeprefix("sha256:")
    return f"sha256:{text[:place]}{'0' if text[place] != '0' else '1'}{text[place + 1 :]}"


@cases("place", [0, 31, 63])
def test_every_digit_of_a_digest_counts(place: int) -> None:
    wrong = one_digit(OTHER, place)
    assert about(making.statement(DIGEST, OTHER)) == []
    assert "PROVENANCE_SUBJECT_UNKNOWN" in about(making.statement(DIGEST, wrong))
    for bill in (making.cyclone, making.spdx):
        assert about(bill(digest=OTHER)) == []
        assert about(bill(digest=wrong)) == ["SBOM_SUBJECT_UNKNOWN"]


@cases("place", [0, 1])
def test_every_subject_of_a_provenance_counts(place: int) -> None:
    subjects = [DIGEST, OTHER]
    subjects[place] = "sha256:" + "c" * 64
    assert about(making.statement(*subjects)) == ["PROVENANCE_SUBJECT_UNKNOWN", "PROVENANCE_ARTIFACT_UNCOVERED"]


def test_a_signed_statement_is_checked_against_the_release_too() -> None:
    signed = making.envelope(making.statement(DIGEST, "sha256:" + "c" * 64), payload_type=STATEMENT_TYPE)
    assert examine(signed, _descriptor()).contradicts


def test_every_package_that_an_spdx_document_describes_counts() -> None:
    document = making.spdx(["more"], DIGEST)
    document["packages"][1]["checksums"] = [{"algorithm": "SHA256", "checksumValue": "c" * 64}]
    assert about(document) == []
    for names in (["SPDXRef-more"], ["SPDXRef-app", "SPDXRef-more"]):
        assert about({**document, "documentDescribes": names}) == ["SBOM_SUBJECT_UNKNOWN"]
    document["relationships"].append({**document["relationships"][0], "relatedSpdxElement": "SPDXRef-more"})
    assert about(document) == ["SBOM_SUBJECT_UNKNOWN"]
