"""The descriptor of built artifacts."""

import json
import zipfile
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.release.descriptor import release
from pipelines.release.packaging import BuiltArtifact, build
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import ArtifactRef, parse_descriptor
from wire.release.verification import verify

STEP = "@pipeline.step\ndef ship_it(order: Order) -> Receipt:\n    return Receipt(1)\n"


@pytest.fixture
def artifact(author: Author, tmp_path: Path) -> BuiltArtifact:
    return build(author.pipeline(STEP), tmp_path / "dist")


def test_the_release_pins_the_artifact_by_its_digest(artifact: BuiltArtifact) -> None:
    written = release(artifact.path.parent)
    assert written.path == artifact.path.parent / "pipeline-release.json"
    assert json.loads(written.path.read_bytes()) == written.document
    assert written.document == {
        "schemaVersion": 1,
        "pipelineId": "org.acme.orders",
        "contractVersion": artifact.contract["contractVersion"],
        "releaseVersion": artifact.digest,
        "artifacts": [
            {
                "artifactId": "org.acme.orders-artifact",
                "kind": "local-file",
                "uri": "org.acme.orders.zip",
                "digest": artifact.digest,
                "stepIds": ["Ship it"],
                "capabilities": [],
            }
        ],
    }


def test_the_coordinator_accepts_the_built_release(artifact: BuiltArtifact) -> None:
    written = release(artifact.path.parent, release_version="2024.1")
    descriptor = parse_descriptor(written.path.read_bytes())
    assert descriptor.release_version == "2024.1"
    folder = artifact.path.parent

    def opened(reference: ArtifactRef) -> object:
        return (folder / reference.uri).open("rb")

    verdict = verify(descriptor, opened)  # type: ignore[arg-type]
    assert verdict.findings == ()
    assert verdict.accepted


def test_several_artifacts_of_one_contract_make_one_release(artifact: BuiltArtifact, tmp_path: Path) -> None:
    second = tmp_path / "again.zip"
    second.write_bytes(artifact.path.read_bytes())
    with zipfile.ZipFile(second, "a") as archive:
        archive.writestr("more.txt", "more")
    document = release(tmp_path / "dist", [artifact.path, second]).document
    assert [entry["artifactId"] for entry in document["artifacts"]] == ["org.acme.orders-artifact", "again-artifact"]
    assert document["releaseVersion"].startswith("sha256:")
    assert document["releaseVersion"] not in {entry["digest"] for entry in document["artifacts"]}


def test_artifacts_of_two_contracts_are_refused(author: Author, artifact: BuiltArtifact) -> None:
    other = author.pipeline(STEP.replace("ship_it", "send"))
    build(other, artifact.path.parent / "other").path.replace(artifact.path.parent / "other.zip")
    with pytest.raises(DefinitionError, match=r"MIXED_ARTIFACTS: .*org.acme.orders.zip.*other.zip"):
        release(artifact.path.parent)


def test_artifacts_with_the_same_file_name_are_refused(artifact: BuiltArtifact, tmp_path: Path) -> None:
    twin = tmp_path / artifact.path.name
    twin.write_bytes(artifact.path.read_bytes())
    with pytest.raises(DefinitionError, match="MIXED_ARTIFACTS"):
        release(tmp_path, [artifact.path, twin])


def test_a_folder_without_artifacts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"NO_ARTIFACT: .*pipelines build"):
        release(tmp_path)
    with pytest.raises(DefinitionError, match=r"NO_ARTIFACT: there is no file .*gone\.zip"):
        release(tmp_path, [tmp_path / "gone.zip"])


def test_files_that_are_not_artifacts_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    with pytest.raises(DefinitionError, match=r"NOT_AN_ARTIFACT: .*text\.zip"):
        release(tmp_path, [text])
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(DefinitionError, match=f"NOT_AN_ARTIFACT: .*{CONTRACT_ENTRY}"):
        release(tmp_path, [empty])
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr(CONTRACT_ENTRY, "{}")
    with pytest.raises(DefinitionError, match=r"NOT_AN_ARTIFACT: .*contract that cannot be read"):
        release(tmp_path, [broken])


def test_a_blank_release_version_is_refused(artifact: BuiltArtifact) -> None:
    with pytest.raises(DefinitionError, match="INVALID_RELEASE_VERSION"):
        release(artifact.path.parent, release_version=" ")
