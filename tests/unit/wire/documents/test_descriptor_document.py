"""The descriptors that are accepted, and their defaults (wire protocol A.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wire.documents.descriptor import KINDS, ArtifactKind, Descriptor, Profile, descriptor_from_json, parse_descriptor
from wire.findings import Finding, Severity


def parse(document: dict[str, Any]) -> Descriptor:
    return parse_descriptor(json.dumps(document).encode())


def test_a_normalised_descriptor_reads_as_itself(descriptor_document: dict[str, Any]) -> None:
    descriptor = parse(descriptor_document)
    assert descriptor.normalised() == descriptor_document
    assert descriptor_from_json(descriptor.normalised()) == descriptor


@pytest.mark.parametrize("member", ["stepIds", "capabilities"])
def test_lists_of_an_artifact_default_to_empty(descriptor_document: dict[str, Any], member: str) -> None:
    descriptor_document["artifacts"][0][member] = None
    del descriptor_document["artifacts"][1][member]
    artifacts = parse(descriptor_document).normalised()["artifacts"]
    assert [artifact[member] for artifact in artifacts] == [[], []]


@pytest.mark.parametrize("kind", KINDS[Profile.TPF_2026_08])
def test_kinds_are_read_in_any_case_and_kept_in_lower_case(
    descriptor_document: dict[str, Any], kind: ArtifactKind
) -> None:
    descriptor_document["artifacts"][0]["kind"] = kind.upper()
    descriptor = parse(descriptor_document)
    assert descriptor.artifacts[0].kind is kind
    assert descriptor.normalised()["artifacts"][0]["kind"] == kind.value


def test_four_kinds_are_stored() -> None:
    assert [kind.value for kind in KINDS[Profile.TPF_2026_08] if kind.is_stored] == [
        "jar",
        "local-file",
        "native-binary",
        "lambda-zip",
    ]


@pytest.mark.parametrize("digest", ["sha256:", "sha256:latest", "sha256:" + "0A" * 32])
@pytest.mark.parametrize("kind", [kind for kind in KINDS[Profile.TPF_2026_08] if not kind.is_stored])
def test_an_odd_digest_of_a_remote_artifact_is_a_warning(
    descriptor_document: dict[str, Any], kind: ArtifactKind, digest: str
) -> None:
    descriptor_document["artifacts"][1].update(kind=kind.value, digest=digest)
    descriptor = parse(descriptor_document)
    assert descriptor.warnings == (
        Finding(
            "ARTIFACT_DIGEST_UNUSUAL",
            "pipeline-release.json#artifacts[1].digest",
            "the digest of a remote artifact is not 64 lower-case hex digits",
            Severity.WARNING,
        ),
    )
    assert "warnings" not in descriptor.normalised()


def test_a_usual_descriptor_has_no_warnings(descriptor_document: dict[str, Any]) -> None:
    assert parse(descriptor_document).warnings == ()


def test_a_finding_is_read_back_from_json() -> None:
    finding = Finding("A_CODE", "a.json#b", "c", Severity.WARNING)
    assert Finding.from_json(finding.to_json()) == finding
