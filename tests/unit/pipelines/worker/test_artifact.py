"""A worker unpacks exactly the bytes that its release pins, into a private folder."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.worker.artifact import unpack_release
from tests.unit.pipelines.worker.hosting_process import packed
from wire.documents.contract import PYTHON_ENTRY


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


def pin(descriptor: Path) -> None:
    """Write the digest of the artifact as it is now into the descriptor."""
    change(descriptor, digest=f"sha256:{hashlib.sha256(artifact_of(descriptor).read_bytes()).hexdigest()}")


def test_exactly_the_pinned_bytes_are_unpacked_into_a_private_folder(descriptor: Path, tmp_path: Path) -> None:
    artifact = artifact_of(descriptor)
    with zipfile.ZipFile(artifact) as archive:
        names = archive.namelist()
    for moved in (artifact, tmp_path / "moved"):
        artifact.rename(moved)
        unpacked = unpack_release(descriptor, None if moved == artifact else moved)
        assert unpacked.files == {
            str(unpacked.folder / name): hashlib.sha256((unpacked.folder / name).read_bytes()).hexdigest()
            for name in names
        }
        assert unpacked.folder.stat().st_mode & 0o777 == 0o700
        assert unpacked.pipeline == "shop.flow:pipeline"
    assert refusal(descriptor) == "NO_ARTIFACT"
    artifact.write_bytes(moved.read_bytes() + b"x")
    assert refusal(descriptor) == "ARTIFACT_MISMATCH"


def test_an_artifact_outside_of_the_folder_is_not_opened_without_an_option(descriptor: Path) -> None:
    change(descriptor, uri="../elsewhere.zip")
    assert refusal(descriptor) == "NO_ARTIFACT"
    change(descriptor, kind="container-image", uri="registry/image")  # which pins no code
    assert refusal(descriptor) == "NO_ARTIFACT"
    assert refusal(descriptor, artifact_of(descriptor)) == "ARTIFACT_MISMATCH"


def test_a_file_without_the_entries_that_a_worker_needs_is_refused(descriptor: Path) -> None:
    artifact = artifact_of(descriptor)
    with zipfile.ZipFile(artifact) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(artifact, "w") as archive:
        for name, content in entries.items():
            if name != PYTHON_ENTRY:
                archive.writestr(name, content)
    pin(descriptor)
    assert refusal(descriptor) == "NOT_AN_ARTIFACT"
    artifact.write_bytes(b"PK\x03\x04 cut short")
    pin(descriptor)
    assert refusal(descriptor) == "NOT_AN_ARTIFACT"
