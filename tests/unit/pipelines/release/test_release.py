"""The descriptor of built artifacts, in both profiles."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.descriptor import ENVELOPE_NAME, release
from pipelines.release.located_artifacts import Locations
from pipelines.release.packaging import BuiltArtifact
from wire.documents.descriptor import CarrierDescriptor, Profile, parse_descriptor

DIGEST = f"sha256:{'1' * 64}"
IMAGE = f"oci://registry.example:5000/acme/app@{DIGEST}"
ARTIFACT = "org.acme.orders-artifact"


@pytest.fixture
def second(built: BuiltArtifact) -> Path:
    """Another archive with the same contract."""
    path = Path(shutil.copy(built.path, built.path.with_name("second.zip")))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "more")
    return path


def located(folder: Path, *artifacts: Path, **locations: Any) -> dict[str, Any]:
    """Write a descriptor of the profile `tpf-2026-10` and return it."""
    written = release(folder, artifacts, profile=Profile.TPF_2026_10, locations=Locations(**locations))
    data = written.path.read_bytes()
    assert json.loads(data) == written.document
    assert isinstance(parse_descriptor(data), CarrierDescriptor)
    return written.document


def refusal(folder: Path, *artifacts: Path, **locations: Any) -> DefinitionError:
    """Return the error. No descriptor is written."""
    (folder / "pipeline-release.json").unlink(missing_ok=True)
    with pytest.raises(DefinitionError) as caught:
        located(folder, *artifacts, **locations)
    assert not (folder / "pipeline-release.json").exists()
    return caught.value


def test_the_release_pins_the_artifact_by_its_digest(built: BuiltArtifact) -> None:
    written = release(built.path.parent)
    assert written.path == built.path.parent / "pipeline-release.json"
    assert json.loads(written.path.read_bytes()) == written.document
    artifact = {
        "artifactId": ARTIFACT,
        "kind": "local-file",
        "uri": "org.acme.orders.zip",
        "digest": built.digest,
        "stepIds": ["Ship it"],
        "capabilities": [],
    }
    assert written.document == {
        "schemaVersion": 1,
        "pipelineId": "org.acme.orders",
        "contractVersion": built.contract["contractVersion"],
        "releaseVersion": built.digest,
        "artifacts": [artifact],
    }
    (written.path.parent / ENVELOPE_NAME).write_text("the signature of an earlier descriptor")
    before = written.path.read_bytes()
    with pytest.raises(DefinitionError):
        release(built.path.parent, release_version="2", sign_with=[Path("no-such-key")])
    assert written.path.read_bytes() == before
    first = located(built.path.parent)
    assert not (written.path.parent / ENVELOPE_NAME).exists()
    carrier = {"kind": "application-archive", "uri": built.path.resolve().as_uri(), "capabilities": ["celery", "rest"]}
    assert first == {
        **written.document,
        "compiledTruthArtifactId": ARTIFACT,
        "artifacts": [artifact | carrier],
    }


def test_several_artifacts_of_one_contract_make_one_release(built: BuiltArtifact, second: Path) -> None:
    folder = built.path.parent
    document = release(folder, [built.path, second]).document
    assert [entry["artifactId"] for entry in document["artifacts"]] == [ARTIFACT, "second-artifact"]
    assert document["releaseVersion"].startswith("sha256:")
    assert document["releaseVersion"] not in {entry["digest"] for entry in document["artifacts"]}

    assert refusal(folder).code == "INVALID_CARRIER"
    assert refusal(folder, carrier="gone").code == "INVALID_CARRIER"

    document = located(folder, carrier="second-artifact")
    assert document["compiledTruthArtifactId"] == "second-artifact"
    hosted = {each["artifactId"]: (each["stepIds"], each["capabilities"]) for each in document["artifacts"]}
    assert hosted == {ARTIFACT: ([], []), "second-artifact": (["Ship it"], ["celery", "rest"])}


def test_a_release_that_breaks_a_rule_is_not_written(built: BuiltArtifact) -> None:
    with pytest.raises(DefinitionError, match="INVALID_RELEASE"):
        release(built.path.parent, release_version="a\0b")
    assert list(built.path.parent.glob("*.json")) == []
