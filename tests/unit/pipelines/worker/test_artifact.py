"""A worker unpacks exactly the bytes that its release pins, into a private folder."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.worker.artifact import UnpackedArtifact, unpack_release
from tests.cases import cases
from tests.unit.pipelines.worker.hosting_process import FLOW, hosted, packed
from wire.documents.contract import LOCK_ENTRY, PYTHON_ENTRY


@pytest.fixture
def descriptor(tmp_path: Path) -> Path:
    return packed(tmp_path, {})


def artifact_of(descriptor: Path) -> Path:
    [artifact] = descriptor.parent.glob("*.zip")
    return artifact


def refusal(descriptor: Path, artifact: Path | None = None) -> str:
    with pytest.raises(DefinitionError) as caught:
        unpack_release(descriptor, artifact)
    return caught.value.code


def change(descriptor: Path, **members: Any) -> None:
    document = json.loads(descriptor.read_text())
    document["artifacts"][0].update(members)
    descriptor.write_text(json.dumps(document))


def assert_unpacked(unpacked: UnpackedArtifact, artifact: Path) -> None:
    with zipfile.ZipFile(artifact) as archive:
        names = archive.namelist()
    assert unpacked.files == {
        str(unpacked.folder / name): hashlib.sha256((unpacked.folder / name).read_bytes()).hexdigest() for name in names
    }
    assert unpacked.folder.stat().st_mode & 0o777 == 0o700
    assert unpacked.pipeline == "shop.flow:pipeline"


def test_the_artifact_next_to_the_descriptor_is_unpacked(descriptor: Path) -> None:
    assert_unpacked(unpack_release(descriptor), artifact_of(descriptor))


def test_an_artifact_in_another_place_is_unpacked(descriptor: Path, tmp_path: Path) -> None:
    moved = artifact_of(descriptor).rename(tmp_path / "moved")
    assert_unpacked(unpack_release(descriptor, moved), moved)
    assert refusal(descriptor) == "NO_ARTIFACT"


def test_other_bytes_are_refused(descriptor: Path) -> None:
    with artifact_of(descriptor).open("ab") as file:
        file.write(b"x")
    assert refusal(descriptor) == "ARTIFACT_MISMATCH"


def test_one_of_two_artifacts_is_chosen_by_its_file(descriptor: Path) -> None:
    document = json.loads(descriptor.read_text())
    other = {**document["artifacts"][0], "artifactId": "other", "uri": "other.zip", "digest": "sha256:" + "1" * 64}
    document["artifacts"].append(other)
    descriptor.write_text(json.dumps(document))
    assert refusal(descriptor) == "NO_ARTIFACT"
    assert unpack_release(descriptor, artifact_of(descriptor)).pinned.artifact_id != "other"


@cases("uri", ["../elsewhere.zip", "https://example.org/a.zip"])
def test_an_artifact_outside_of_the_folder_is_not_opened_without_an_option(descriptor: Path, uri: str) -> None:
    change(descriptor, uri=uri)
    assert refusal(descriptor) == "NO_ARTIFACT"


def test_a_release_of_images_alone_pins_no_code(descriptor: Path) -> None:
    change(descriptor, kind="container-image", uri="registry/image")
    assert refusal(descriptor) == "NO_ARTIFACT"
    assert refusal(descriptor, artifact_of(descriptor)) == "ARTIFACT_MISMATCH"


@cases("content", [b"", b"text", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused(descriptor: Path, content: bytes) -> None:
    artifact_of(descriptor).write_bytes(content)
    change(descriptor, digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert refusal(descriptor) == "NOT_AN_ARTIFACT"


@cases("entry", [PYTHON_ENTRY, LOCK_ENTRY])
def test_an_archive_without_an_entry_that_a_worker_needs_is_refused(descriptor: Path, entry: str) -> None:
    artifact = artifact_of(descriptor)
    with zipfile.ZipFile(artifact) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != entry}
    with zipfile.ZipFile(artifact, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    change(descriptor, digest=f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}")
    assert refusal(descriptor) == "NOT_AN_ARTIFACT"


def test_code_with_another_contract_is_refused(tmp_path: Path) -> None:
    [refused] = hosted(packed(tmp_path, {"shop/flow.py": FLOW.replace("def work", "def other")}))
    assert refused["code"] == "CONTRACT_MISMATCH"
