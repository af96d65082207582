"""Descriptors of the profile `tpf-2026-10`: what they must and must not have, apart from their artifacts' bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.documents.artifact_uri import FileUri, ImageUri, MavenUri
from wire.documents.descriptor import (
    KINDS,
    NAMES_PROFILE,
    ArtifactKind,
    CarrierDescriptor,
    Descriptor,
    LocatedArtifactRef,
    Profile,
    descriptor_from_json,
    parse_descriptor,
    profile_of,
    unpromotable,
)
from wire.documents.json_reader import MAX_FINDINGS
from wire.findings import DocumentError, Finding, Severity
from wire.identifying import RULE

Document = dict[str, Any]
Change = Callable[[Document, tuple[Any, ...]], None]

HEX = "0a" * 32
DIGEST, OTHER = f"sha256:{HEX}", "sha256:" + "0b" * 32
APP, IMAGE, TRUTH = ("artifacts", 0), ("artifacts", 1), ("artifacts", 2)
NAME = "pipeline-release.json"
DOCUMENT: Document = {
    "schemaVersion": 1,
    "pipelineId": "org.x",
    "contractVersion": "sha256:abc",
    "releaseVersion": "1.0",
    "artifacts": [
        {
            "artifactId": "app",
            "kind": "jar",
            "uri": "maven:org.x:app:1.0",
            "digest": DIGEST,
            "stepIds": ["Validate", "Ship"],
            "capabilities": ["local"],
        },
        {
            "artifactId": "image",
            "kind": "container-image",
            "uri": f"oci://ghcr.io/acme/app@{OTHER}",
            "digest": OTHER,
            "stepIds": [],
            "capabilities": ["rest"],
        },
        {
            "artifactId": "truth",
            "kind": "compiled-truth",
            "uri": "file:///srv/truth.zip",
            "digest": DIGEST,
            "stepIds": [],
            "capabilities": [],
        },
    ],
    "compiledTruthArtifactId": "truth",
}


@pytest.fixture
def document() -> Document:
    return copy.deepcopy(DOCUMENT)


def parse(document: Document) -> CarrierDescriptor:
    descriptor = parse_descriptor(json.dumps(document).encode())
    assert isinstance(descriptor, CarrierDescriptor)
    return descriptor


def refusal(document: Document) -> list[tuple[str, str, str]]:
    with pytest.raises(DocumentError) as caught:
        parse_descriptor(json.dumps(document).encode())
    return [(finding.code, finding.field, finding.message) for finding in caught.value.findings]


# --- accepted ---


def test_a_descriptor_with_a_carrier_has_the_newer_profile(document: Document) -> None:
    descriptor = parse(document)
    assert descriptor.profile is Profile.TPF_2026_10
    assert descriptor.compiled_truth_artifact_id == "truth"
    assert descriptor.carrier is descriptor.artifacts[2]
    assert descriptor.warnings == ()


def test_a_normalised_descriptor_reads_as_itself(document: Document) -> None:
    descriptor = parse(document)
    assert descriptor.normalised() == document
    assert descriptor_from_json(descriptor.normalised()) == descriptor


@pytest.mark.parametrize("member", ["stepIds", "capabilities"])
def test_lists_of_an_artifact_default_to_empty(document: Document, member: str) -> None:
    document["artifacts"][0][member] = None
    del document["artifacts"][1][member]
    artifacts = parse(document).normalised()["artifacts"]
    assert [artifact[member] for artifact in artifacts] == [[], [], []]


def test_artifacts_have_locations(document: Document) -> None:
    assert [artifact.location for artifact in parse(document).artifacts] == [
        MavenUri("org.x", "app", "1.0"),
        ImageUri("ghcr.io", "acme/app", OTHER),
        FileUri("/srv/truth.zip"),
    ]


KIND_RULES = {
    "jar": (True, True, True),
    "native-binary": (True, True, False),
    "lambda-zip": (True, True, True),
    "container-image": (False, True, False),
    "lambda-image": (False, True, False),
    "application-archive": (True, True, True),
    "compiled-truth": (True, False, True),
}
"""By kind: whether its bytes are stored, whether it hosts steps, and whether it can carry the contract."""


def test_the_newer_profile_has_seven_kinds() -> None:
    found = {
        kind.value: (kind.is_stored, kind.is_deployable, kind.may_carry_contract) for kind in KINDS[Profile.TPF_2026_10]
    }
    assert found == KIND_RULES
    assert [kind.value for kind in KINDS[Profile.TPF_2026_10] if kind.is_image] == ["container-image", "lambda-image"]


@pytest.mark.parametrize("kind", [kind for kind, (_, _, may_carry) in KIND_RULES.items() if may_carry])
def test_these_kinds_can_carry_the_contract(document: Document, kind: str) -> None:
    document["artifacts"][0].update(kind=kind, stepIds=[], capabilities=[])
    document["compiledTruthArtifactId"] = "app"
    assert parse(document).carrier.artifact_id == "app"


@pytest.mark.parametrize("uri", ["file:///srv/app", "maven:g:a:1"])
@pytest.mark.parametrize("kind", [kind for kind, (stored, _, _) in KIND_RULES.items() if stored])
def test_artifacts_with_bytes_are_files_or_in_maven_repositories(document: Document, kind: str, uri: str) -> None:
    document["artifacts"][0].update(kind=kind, uri=uri, stepIds=[], capabilities=[])
    assert parse(document).artifacts[0].uri == uri


@pytest.mark.parametrize("kind", ["container-image", "lambda-image"])
def test_images_are_in_registries(document: Document, kind: str) -> None:
    document["artifacts"][1]["kind"] = kind
    assert isinstance(parse(document).artifacts[1].location, ImageUri)


@pytest.mark.parametrize("artifact_id", ["a", "A.b_c-1", "...", "-", "x" * 500])
def test_the_characters_of_an_artifact_id(document: Document, artifact_id: str) -> None:
    document["artifacts"][2]["artifactId"] = document["compiledTruthArtifactId"] = artifact_id
    assert parse(document).carrier.artifact_id == artifact_id


def test_two_artifacts_may_have_equal_bytes_and_steps_are_not_compared_yet(document: Document) -> None:
    document["artifacts"][1]["stepIds"] = ["Validate"]
    assert parse(document).artifacts[0].digest == parse(document).artifacts[2].digest


# --- refused ---

SCHEME = "the uri of an image is an oci: URI, and that of any other artifact a file: or maven: URI"
DIGESTS = "digest must be sha256: and 64 lower-case hex digits"

BROKEN: list[tuple[str, tuple[Any, ...], str, str, str]] = [
    (
        "carrier null",
        ("compiledTruthArtifactId", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "compiledTruthArtifactId",
        "compiledTruthArtifactId is required",
    ),
    (
        "carrier blank",
        ("compiledTruthArtifactId", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "compiledTruthArtifactId",
        "compiledTruthArtifactId is required",
    ),
    (
        "carrier a number",
        ("compiledTruthArtifactId", 1),
        "DESCRIPTOR_WRONG_TYPE",
        "compiledTruthArtifactId",
        "compiledTruthArtifactId must be a string",
    ),
    (
        "carrier unknown",
        ("compiledTruthArtifactId", "Truth"),
        "COMPILED_TRUTH_UNKNOWN",
        "compiledTruthArtifactId",
        "compiledTruthArtifactId names none of the artifacts",
    ),
    (
        "carrier an image",
        ("compiledTruthArtifactId", "image"),
        "COMPILED_TRUTH_WRONG_KIND",
        "compiledTruthArtifactId",
        "an artifact of kind container-image cannot carry the contract",
    ),
    (
        "carrier a native binary",
        (*TRUTH, "kind", "native-binary"),
        "COMPILED_TRUTH_WRONG_KIND",
        "compiledTruthArtifactId",
        "an artifact of kind native-binary cannot carry the contract",
    ),
    ("unknown member", ("owner", 1), "DESCRIPTOR_UNKNOWN_MEMBER", "owner", 'Unrecognized field "owner"'),
    (
        "unknown member of an artifact",
        (*APP, "scope", "x"),
        "DESCRIPTOR_UNKNOWN_MEMBER",
        "artifacts[0].scope",
        'Unrecognized field "scope"',
    ),
    (
        "schemaVersion 2",
        ("schemaVersion", 2),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        "Unsupported pipeline release schemaVersion 2",
    ),
    (
        "schemaVersion absent",
        ("schemaVersion", ...),
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED",
        "schemaVersion",
        "Unsupported pipeline release schemaVersion 0",
    ),
    ("pipelineId absent", ("pipelineId", ...), "DESCRIPTOR_MISSING_MEMBER", "pipelineId", "pipelineId is required"),
    (
        "contractVersion blank",
        ("contractVersion", ""),
        "DESCRIPTOR_BLANK_MEMBER",
        "contractVersion",
        "contractVersion is required",
    ),
    (
        "releaseVersion null",
        ("releaseVersion", None),
        "DESCRIPTOR_MISSING_MEMBER",
        "releaseVersion",
        "releaseVersion is required",
    ),
    (
        "artifacts empty",
        ("artifacts", []),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifacts absent",
        ("artifacts", ...),
        "DESCRIPTOR_NO_ARTIFACTS",
        "artifacts",
        "Release descriptor must contain at least one artifact",
    ),
    (
        "artifactId absent",
        (*APP, "artifactId", ...),
        "DESCRIPTOR_MISSING_MEMBER",
        "artifacts[0].artifactId",
        "artifactId is required",
    ),
    *(
        (
            f"artifactId {text}",
            (*APP, "artifactId", text),
            "ARTIFACT_ID_MALFORMED",
            "artifacts[0].artifactId",
            "artifactId may only have letters, digits, . _ and -",
        )
        for text in ("a b", "a/b", "a:b", "é", "a+b")
    ),
    *(
        (
            f"kind {kind}",
            (*APP, "kind", kind),
            "ARTIFACT_KIND_UNSUPPORTED",
            "artifacts[0].kind",
            f"Unsupported release artifact kind {kind}",
        )
        for kind in ("JAR", "Jar", "local-file", "external-endpoint", "war", "application_archive")
    ),
    (
        "uri a path",
        (*APP, "uri", "build/app.jar"),
        "ARTIFACT_URI_SCHEME_UNSUPPORTED",
        "artifacts[0].uri",
        "the uri is not a file:, maven: or oci: URI",
    ),
    (
        "uri with a host",
        (*APP, "uri", "file://host/app.jar"),
        "ARTIFACT_URI_MALFORMED",
        "artifacts[0].uri",
        "a file: URI is absolute, and names no host",
    ),
    (
        "uri in another spelling",
        (*APP, "uri", "maven:org.x:app:jar:1.0"),
        "ARTIFACT_URI_NOT_CANONICAL",
        "artifacts[0].uri",
        "the canonical form of the uri is maven:org.x:app:1.0",
    ),
    (
        "uri with braces",
        (*APP, "uri", "file:///{rule}{"),
        "ARTIFACT_URI_NOT_CANONICAL",
        "artifacts[0].uri",
        "the canonical form of the uri is file:///%7Brule%7D%7B",
    ),
    (
        "an image in a Maven repository",
        (*IMAGE, "uri", "maven:g:a:1"),
        "ARTIFACT_URI_WRONG_SCHEME",
        "artifacts[1].uri",
        SCHEME,
    ),
    ("an image that is a file", (*IMAGE, "uri", "file:///a"), "ARTIFACT_URI_WRONG_SCHEME", "artifacts[1].uri", SCHEME),
    (
        "a jar in a registry",
        (*APP, "uri", f"oci://r/a@{DIGEST}"),
        "ARTIFACT_URI_WRONG_SCHEME",
        "artifacts[0].uri",
        SCHEME,
    ),
    (
        "the carrier in a registry",
        (*TRUTH, "uri", f"oci://r/a@{DIGEST}"),
        "ARTIFACT_URI_WRONG_SCHEME",
        "artifacts[2].uri",
        SCHEME,
    ),
    (
        "digest of another image",
        (*IMAGE, "digest", DIGEST),
        "ARTIFACT_URI_OTHER_DIGEST",
        "artifacts[1].digest",
        "digest differs from the digest in the uri",
    ),
    *(
        (f"digest {text[:12]}…{len(text)}", (*at, "digest", text), "ARTIFACT_DIGEST_MALFORMED", field, DIGESTS)
        for text in (HEX, f"SHA256:{HEX}", f"sha256:{HEX.upper()}", f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", "md5:0a")
        for at, field in ((APP, "artifacts[0].digest"), (IMAGE, "artifacts[1].digest"))
    ),
    (
        "a step twice",
        (*APP, "stepIds", ["Ship", "Validate", "Ship"]),
        "ARTIFACT_ASSOCIATION_REPEATED",
        "artifacts[0].stepIds",
        "stepIds has an entry twice",
    ),
    (
        "a capability twice",
        (*IMAGE, "capabilities", ["rest", "rest"]),
        "ARTIFACT_ASSOCIATION_REPEATED",
        "artifacts[1].capabilities",
        "capabilities has an entry twice",
    ),
    (
        "a blank step",
        (*APP, "stepIds", "append", ""),
        "ARTIFACT_ASSOCIATION_BLANK",
        "artifacts[0].stepIds",
        "stepIds has a blank entry",
    ),
    (
        "a step of spaces",
        (*APP, "stepIds", "append", " "),
        "IDENTITY_MALFORMED",
        "artifacts[0].stepIds[2]",
        f"stepIds[2] {RULE}",
    ),
    (
        "a blank capability",
        (*APP, "capabilities", [""]),
        "ARTIFACT_ASSOCIATION_BLANK",
        "artifacts[0].capabilities",
        "capabilities has a blank entry",
    ),
    (
        "steps of the compiled truth",
        (*TRUTH, "stepIds", ["Ship"]),
        "COMPILED_TRUTH_ASSOCIATED",
        "artifacts[2].stepIds",
        "an artifact of kind compiled-truth has no stepIds",
    ),
    (
        "capabilities of the compiled truth",
        (*TRUTH, "capabilities", ["rest"]),
        "COMPILED_TRUTH_ASSOCIATED",
        "artifacts[2].capabilities",
        "an artifact of kind compiled-truth has no capabilities",
    ),
]


@pytest.mark.parametrize(
    ("path", "code", "field", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_broken_descriptor_gets_exactly_its_finding_which_names_the_profile(
    document: Document, change: Change, path: tuple[Any, ...], code: str, field: str, message: str
) -> None:
    change(document, path)
    assert refusal(document) == [(code, f"{NAME}#{field}", NAMES_PROFILE + message)]


def test_a_repeated_artifact_id_is_reported_for_each_artifact(document: Document) -> None:
    document["artifacts"][0]["artifactId"] = "image"
    message = NAMES_PROFILE + "another artifact has the same artifactId"
    assert refusal(document) == [
        ("ARTIFACT_ID_REPEATED", f"{NAME}#artifacts[0].artifactId", message),
        ("ARTIFACT_ID_REPEATED", f"{NAME}#artifacts[1].artifactId", message),
    ]


def test_artifact_ids_differ_by_case(document: Document) -> None:
    document["artifacts"][0]["artifactId"] = "Image"
    assert len(parse(document).artifacts) == 3


def test_a_descriptor_gets_every_finding_at_once_and_each_names_the_profile(document: Document) -> None:
    document["artifacts"][0].update(kind="war", uri="a", digest="b", stepIds=["", ""], scope=1)
    document["artifacts"][1]["digest"] = DIGEST
    document["artifacts"][2]["stepIds"] = ["x"]
    document["compiledTruthArtifactId"] = " "
    found = refusal(document)
    assert sorted((code, field.removeprefix(f"{NAME}#")) for code, field, _ in found) == [
        ("ARTIFACT_ASSOCIATION_BLANK", "artifacts[0].stepIds"),
        ("ARTIFACT_DIGEST_MALFORMED", "artifacts[0].digest"),
        ("ARTIFACT_KIND_UNSUPPORTED", "artifacts[0].kind"),
        ("ARTIFACT_URI_OTHER_DIGEST", "artifacts[1].digest"),
        ("ARTIFACT_URI_SCHEME_UNSUPPORTED", "artifacts[0].uri"),
        ("COMPILED_TRUTH_ASSOCIATED", "artifacts[2].stepIds"),
        ("DESCRIPTOR_BLANK_MEMBER", "compiledTruthArtifactId"),
        ("DESCRIPTOR_UNKNOWN_MEMBER", "artifacts[0].scope"),
    ]
    assert all(message.startswith(NAMES_PROFILE) for _, _, message in found)


def test_faults_of_the_text_name_the_profile_if_it_is_an_object(document: Document) -> None:
    text = json.dumps(document)
    repeated = text[:-1] + ', "compiledTruthArtifactId": "truth"}'
    with pytest.raises(DocumentError) as caught:
        parse_descriptor(repeated.encode())
    assert [(finding.code, finding.field) for finding in caught.value.findings] == [
        ("DOCUMENT_DUPLICATE_KEY", f"{NAME}#compiledTruthArtifactId")
    ]
    assert caught.value.findings[0].message.startswith(NAMES_PROFILE)


def test_the_number_of_findings_is_limited(document: Document) -> None:
    document["artifacts"] = [{**DOCUMENT["artifacts"][0], "artifactId": "same"} for _ in range(MAX_FINDINGS + 10)]
    found = refusal(document)
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1][0] == "DOCUMENT_TOO_MANY_FINDINGS"


# --- the profiles are told apart by one member ---


@pytest.mark.parametrize("value", [None, "", "app", 1, [], {}])
def test_the_member_decides_the_profile_whatever_its_value(value: Any) -> None:
    assert profile_of({"compiledTruthArtifactId": value}) is Profile.TPF_2026_10


@pytest.mark.parametrize("document", [{}, {"schemaVersion": 2}, {"compiledtruthartifactid": "x"}])
def test_without_the_member_the_profile_is_the_older_one(document: Document) -> None:
    assert profile_of(document) is Profile.TPF_2026_08


@pytest.mark.parametrize("kind", ["application-archive", "compiled-truth"])
def test_the_older_profile_has_no_kinds_of_the_newer_one(descriptor_document: Document, kind: str) -> None:
    descriptor_document["artifacts"][0]["kind"] = kind
    message = f"Unsupported release artifact kind {kind}"
    assert refusal(descriptor_document) == [("ARTIFACT_KIND_UNSUPPORTED", f"{NAME}#artifacts[0].kind", message)]


def test_the_older_profile_accepts_what_the_newer_one_does_not(descriptor_document: Document) -> None:
    first, second = descriptor_document["artifacts"]
    first.update(artifactId="the app/1", kind="JAR", uri="build/../app.jar", stepIds=["a", "a", ""])
    second.update(artifactId="the app/1", uri="registry/app:1", digest=f"sha256:{HEX.upper()}")
    descriptor_document["artifacts"].append({**first, "kind": "external-endpoint", "uri": "http://x"})
    descriptor = parse_descriptor(json.dumps(descriptor_document).encode())
    assert type(descriptor) is Descriptor
    assert descriptor.profile is Profile.TPF_2026_08
    assert [artifact.kind for artifact in descriptor.artifacts] == [
        ArtifactKind.JAR,
        ArtifactKind.CONTAINER_IMAGE,
        ArtifactKind.EXTERNAL_ENDPOINT,
    ]
    assert "compiledTruthArtifactId" not in descriptor.normalised()
    assert descriptor_from_json(descriptor.normalised()) == descriptor
    codes = {code for code, _, _ in refusal({**descriptor_document, "compiledTruthArtifactId": "the app/1"})}
    assert codes == {
        "ARTIFACT_ID_MALFORMED",
        "ARTIFACT_KIND_UNSUPPORTED",
        "ARTIFACT_URI_SCHEME_UNSUPPORTED",
        "ARTIFACT_DIGEST_MALFORMED",
        "ARTIFACT_ASSOCIATION_BLANK",
    }


# --- promotion ---


@pytest.mark.parametrize("severity", Severity)
def test_files_and_snapshots_are_not_promotable(document: Document, severity: Severity) -> None:
    document["artifacts"][0]["uri"] = "maven:g:a:1-snapshot"
    message = NAMES_PROFILE + "the uri is a file of one machine or a snapshot, so the release cannot be promoted"
    assert unpromotable(parse(document), severity) == [
        Finding("ARTIFACT_NOT_PROMOTABLE", f"{NAME}#artifacts[{position}].uri", message, severity)
        for position in (0, 2)
    ]


def test_releases_in_repositories_are_promotable(document: Document) -> None:
    document["artifacts"][2]["uri"] = "maven:org.x:app:zip:truth:1.0"
    assert unpromotable(parse(document), Severity.ERROR) == []


def test_locations_of_the_older_profile_are_not_judged(descriptor_document: Document) -> None:
    descriptor_document["artifacts"][0]["uri"] = "file:///srv/app.jar"
    assert unpromotable(descriptor_from_json(descriptor_document), Severity.ERROR) == []


# --- properties ---

NAMES = st.lists(
    st.text("abcXYZ0189 -_", min_size=1, max_size=9).filter(lambda name: name == name.strip()), unique=True
)
IDS = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True).filter(lambda text: text not in {".", ".."})
HEXES = st.binary(min_size=32, max_size=32).map(bytes.hex)


def _artifact(kind: str, digest: str, names: tuple[list[str], list[str]], file: str) -> Document:
    is_image, is_truth = kind.endswith("-image"), kind == "compiled-truth"
    return {
        "kind": kind,
        "uri": f"oci://r/a@sha256:{digest}" if is_image else str(FileUri(f"/{file}")),
        "digest": f"sha256:{digest}",
        "stepIds": [] if is_truth else names[0],
        "capabilities": [] if is_truth else names[1],
    }


ARTIFACTS = st.builds(_artifact, st.sampled_from(sorted(KIND_RULES)), HEXES, st.tuples(NAMES, NAMES), IDS)


@given(st.lists(IDS, min_size=1, max_size=4, unique=True), st.data())
def test_a_normalised_descriptor_parses_to_itself(ids: list[str], data: st.DataObject) -> None:
    artifacts = [{"artifactId": name, **data.draw(ARTIFACTS)} for name in ids]
    document = {**DOCUMENT, "artifacts": artifacts, "compiledTruthArtifactId": ids[0]}
    if not KIND_RULES[artifacts[0]["kind"]][2]:
        assert [code for code, _, _ in refusal(document)] == ["COMPILED_TRUTH_WRONG_KIND"]
        return
    descriptor = parse(document)
    assert descriptor.normalised() == document
    assert descriptor_from_json(document) == descriptor
    assert all(isinstance(artifact, LocatedArtifactRef) for artifact in descriptor.artifacts)
    assert descriptor.warnings == ()
