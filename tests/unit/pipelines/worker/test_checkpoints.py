"""A pipeline requests checkpoints in its artifact and in its release only."""

import zipfile
from pathlib import Path

import pytest

from pipelines import Pipeline
from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import CHECKPOINTS, parse_descriptor

STEP = "@pipeline.step\ndef ship(order: Order) -> Receipt:\n    return Receipt(1)\n"


@pytest.fixture
def pipeline(author: Author) -> Pipeline:
    return author.pipeline(STEP)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_checkpoints_add_one_entry_to_the_artifact_and_change_no_other(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.checkpoint is False
    without = build(pipeline, tmp_path / "without")
    assert set(entries(without.path)) == {CONTRACT_ENTRY, PYTHON_ENTRY, LOCK_ENTRY, "authored.py"}
    assert release(tmp_path / "without").document["artifacts"][0]["capabilities"] == []

    pipeline.checkpoint = True
    asking = build(pipeline, tmp_path / "asking")
    assert entries(asking.path) == {**entries(without.path), CAPABILITIES_ENTRY: b'["checkpoint-each-step"]\n'}
    [artifact] = parse_descriptor(release(tmp_path / "asking").path.read_bytes()).artifacts
    assert artifact.capabilities == (CHECKPOINTS,)
    # The semantics are the same, and so is the contract. The way it runs differs, and so does the release.
    assert asking.contract == without.contract
    assert asking.digest != without.digest
