"""A worker finds its artifact in descriptors of the profile tpf-2026-10."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.release.descriptor import release
from pipelines.release.located_artifacts import Locations
from pipelines.worker.artifact import unpack_release
from tests.unit.pipelines.worker.hosting_process import packed
from wire.documents.descriptor import Profile

DIGEST = f"sha256:{'1' * 64}"
IMAGE = f"oci://registry.example/acme/app@{DIGEST}"


@pytest.fixture
def descriptor(tmp_path: Path) -> Path:
    return located(packed(tmp_path, {}).parent)


def located(folder: Path, **locations: Any) -> Path:
    profile = Profile.TPF_2026_10
    return release(folder, release_version="1.0", profile=profile, locations=Locations(**locations)).path


def artifact_of(descriptor: Path) -> Path:
    [artifact] = descriptor.parent.glob("*.zip")
    return artifact


def refusal(descriptor: Path) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        unpack_release(descriptor)
    return caught.value


def change(descriptor: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(descriptor.read_text())
    change(document)
    descriptor.write_text(json.dumps(document))


def test_the_file_of_the_uri_or_the_one_next_to_the_descriptor_is_hosted(descriptor: Path, tmp_path: Path) -> None:
    moved = descriptor.rename(tmp_path / "pipeline-release.json")
    assert unpack_release(moved).pinned.artifact_id == "tests.shop-artifact"
    folder = (tmp_path / "dist").rename(tmp_path / "copied")
    artifact = artifact_of(moved := moved.rename(folder / moved.name))
    assert unpack_release(moved).pinned.artifact_id == "tests.shop-artifact"
    located(folder, maven=["org.acme:shop:zip:1.0"])
    assert refusal(moved).code == "NO_ARTIFACT"
    assert unpack_release(moved, artifact).pinned.uri == "maven:org.acme:shop:zip:1.0"
    located(folder)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / artifact.name).write_bytes(artifact.read_bytes())
    artifact.write_bytes(b"other")
    moved = moved.rename(tmp_path / "kept" / moved.name)
    assert refusal(moved).code == "ARTIFACT_MISMATCH", "another file does not replace that of the URI"


def test_a_carrier_without_code_is_not_hosted(descriptor: Path) -> None:
    def carry_elsewhere(document: dict[str, Any]) -> None:
        truth = {"artifactId": "truth", "kind": "compiled-truth", "uri": "maven:a:b:zip:1", "digest": DIGEST}
        document["artifacts"].insert(0, truth)
        document["compiledTruthArtifactId"] = "truth"

    def add_another(document: dict[str, Any]) -> None:
        other = {"artifactId": "other", "kind": "jar", "uri": "maven:a:c:1", "digest": f"sha256:{'2' * 64}"}
        document["artifacts"].append(other)

    artifact = artifact_of(descriptor)
    change(descriptor, carry_elsewhere)
    assert unpack_release(descriptor).pinned.artifact_id == "tests.shop-artifact"
    change(descriptor, add_another)
    assert refusal(descriptor).code == "NO_ARTIFACT"
    assert unpack_release(descriptor, artifact).pinned.artifact_id == "tests.shop-artifact"
