"""The descriptor of built artifacts, in both profiles."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.descriptor import release
from pipelines.release.located_artifacts import Locations
from pipelines.release.packaging import BuiltArtifact, build
from tests.unit.pipelines.conftest import STEP, Author
from wire.documents.contract import CONTRACT_ENTRY
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
    first = located(built.path.parent)
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


def test_maven_coordinates_replace_the_path_in_canonical_form(built: BuiltArtifact, second: Path) -> None:
    folder = built.path.parent
    for coordinates, uri in (
        ("org.acme:orders:jar:1.0", "maven:org.acme:orders:1.0"),
        ("org.acme:orders:zip:all:1.0", "maven:org.acme:orders:zip:all:1.0"),
    ):
        [entry] = located(folder, built.path, maven=[coordinates])["artifacts"]
        assert (entry["uri"], entry["digest"]) == (uri, built.digest)
    for coordinates in ("org.acme:orders:1.0-snapshot", "a:b"):
        assert refusal(folder, built.path, maven=[coordinates]).code == "INVALID_MAVEN_COORDINATES"

    assert refusal(folder, carrier=ARTIFACT, maven=["org.acme:one:zip:1.0"]).code == "INVALID_MAVEN_COORDINATES"


def test_images_pin_where_the_artifact_runs(built: BuiltArtifact) -> None:
    folder = built.path.parent
    document = located(folder, images=[IMAGE, IMAGE.replace("/app@", "/gpu@")])
    first, image = document["artifacts"][:2]
    assert (image["artifactId"], image["kind"], image["uri"], image["digest"]) == (
        *("image-1", "container-image"),
        *(IMAGE, DIGEST),
    )
    assert (image["stepIds"], first["stepIds"]) == ([], ["Ship it"])
    for image in ("oci://registry.example/acme/app:1", f"{IMAGE}0"):
        assert refusal(folder, images=[image]).code == "INVALID_IMAGE"
    with pytest.raises(DefinitionError, match="WRONG_PROFILE"):
        release(folder, locations=Locations(images=[IMAGE]))


def test_artifacts_that_do_not_fit_together_are_refused(author: Author, built: BuiltArtifact, tmp_path: Path) -> None:
    other = author.pipeline(STEP.replace("ship_it", "send"))
    build(other, tmp_path / "other").path.replace(built.path.parent / "other.zip")
    with pytest.raises(DefinitionError, match=r"MIXED_ARTIFACTS: .*org.acme.orders.zip.*other.zip"):
        release(built.path.parent)


def test_a_release_that_breaks_a_rule_is_not_written(built: BuiltArtifact, second: Path) -> None:
    """The archives have the same contract version, and different bytes of the contract."""
    with zipfile.ZipFile(built.path) as archive, zipfile.ZipFile(second, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name) + (b"\n" if name == CONTRACT_ENTRY else b""))
    error = refusal(built.path.parent, carrier="second-artifact")
    assert error.code == "INVALID_RELEASE"
    assert "CONTRACT_DIFFERS_FROM_CARRIER: pipeline-release.json#artifacts[0]: profile tpf-2026-10: " in error.message
    assert list(built.path.parent.glob("*.json")) == []


def test_files_that_are_not_artifacts_and_blank_versions_are_refused(built: BuiltArtifact, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"NO_ARTIFACT: .*pipelines build"):
        release(tmp_path)
    with pytest.raises(DefinitionError, match="INVALID_RELEASE_VERSION"):
        release(built.path.parent, release_version=" ")
    file = tmp_path / "text.zip"
    file.write_text("no zip")
    with pytest.raises(DefinitionError, match=r"NOT_AN_ARTIFACT: .*text\.zip"):
        release(tmp_path, [file])
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(CONTRACT_ENTRY, "{}")
    with pytest.raises(DefinitionError, match=r"NOT_AN_ARTIFACT: .*contract that cannot be read"):
        release(tmp_path, [file])
    error = refusal(built.path.parent, built.path.rename(built.path.with_name("my orders.zip")))
    assert (error.code, "rename the file" in error.message) == ("INVALID_ARTIFACT_NAME", True)
