"""Descriptors of the profile tpf-2026-10 that `pipelines release` writes."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.descriptor import ENVELOPE_NAME, release
from pipelines.release.located_artifacts import Locations
from pipelines.release.packaging import BuiltArtifact, build
from pipelines.release.signing_key import make
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import CarrierDescriptor, Profile, parse_descriptor

STEP = "@pipeline.step\ndef ship_it(order: Order) -> Receipt:\n    return Receipt(1)\n"
DIGEST = f"sha256:{'1' * 64}"
IMAGE = f"oci://registry.example:5000/acme/app@{DIGEST}"


@pytest.fixture
def artifact(author: Author, tmp_path: Path) -> BuiltArtifact:
    return build(author.pipeline(STEP), tmp_path / "dist")


@pytest.fixture
def second(artifact: BuiltArtifact) -> Path:
    """Another archive with the same contract."""
    path = artifact.path.with_name("second.zip")
    shutil.copy(artifact.path, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "more")
    return path


def released(folder: Path, *artifacts: Path, version: str | None = None, **locations: Any) -> dict[str, Any]:
    profile = Profile.TPF_2026_10
    written = release(folder, artifacts, release_version=version, profile=profile, locations=Locations(**locations))
    data = written.path.read_bytes()
    assert json.loads(data) == written.document
    assert data.endswith(b"}\n")
    assert isinstance(parse_descriptor(data), CarrierDescriptor)
    return written.document


def refusal(folder: Path, *artifacts: Path, **locations: Any) -> DefinitionError:
    """Return the error. No descriptor is written."""
    with pytest.raises(DefinitionError) as caught:
        released(folder, *artifacts, **locations)
    assert not (folder / "pipeline-release.json").exists()
    return caught.value


def test_the_only_artifact_is_the_carrier_and_hosts_all_steps(artifact: BuiltArtifact) -> None:
    assert released(artifact.path.parent) == {
        "schemaVersion": 1,
        "pipelineId": "org.acme.orders",
        "contractVersion": artifact.contract["contractVersion"],
        "releaseVersion": artifact.digest,
        "compiledTruthArtifactId": "org.acme.orders-artifact",
        "artifacts": [
            {
                "artifactId": "org.acme.orders-artifact",
                "kind": "application-archive",
                "uri": artifact.path.resolve().as_uri(),
                "digest": artifact.digest,
                "stepIds": ["Ship it"],
                "capabilities": ["celery", "rest"],
            }
        ],
    }


def test_the_older_profile_remains_the_default(artifact: BuiltArtifact) -> None:
    assert "compiledTruthArtifactId" not in release(artifact.path.parent).document


def test_equal_artifacts_give_equal_bytes(artifact: BuiltArtifact) -> None:
    file = artifact.path.parent / "pipeline-release.json"
    released(artifact.path.parent)
    first = file.read_bytes()
    released(artifact.path.parent, artifact.path)
    assert file.read_bytes() == first


def test_a_checkpoint_after_each_step_is_no_capability_of_the_descriptor(author: Author, tmp_path: Path) -> None:
    pipeline = author.pipeline('pipeline = Pipeline("org.acme.orders", checkpoint=True)\n' + STEP)
    build(pipeline, tmp_path / "dist")
    [entry] = released(tmp_path / "dist")["artifacts"]
    assert entry["capabilities"] == ["celery", "rest"]


def test_the_path_of_a_file_is_absolute_and_escaped(
    artifact: BuiltArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a b" / "é#?"
    artifact.path.parent.rename(odd.parent)
    odd.mkdir()
    (odd.parent / artifact.path.name).rename(odd / artifact.path.name)
    monkeypatch.chdir(odd)
    [entry] = released(Path(), Path(artifact.path.name))["artifacts"]
    assert entry["uri"] == f"file://{tmp_path}/a%20b/%C3%A9%23%3F/org.acme.orders.zip"


def test_maven_coordinates_replace_the_path(artifact: BuiltArtifact) -> None:
    [entry] = released(artifact.path.parent, maven=["org.acme:orders:zip:1.0"])["artifacts"]
    assert entry["uri"] == "maven:org.acme:orders:zip:1.0"
    assert entry["digest"] == artifact.digest


@cases(
    ("coordinates", "uri"),
    [
        ("org.acme:orders:jar:1.0", "maven:org.acme:orders:1.0"),
        ("maven:org.acme:orders:1.0", "maven:org.acme:orders:1.0"),
        ("org.acme:orders:zip:all:1.0", "maven:org.acme:orders:zip:all:1.0"),
        ("org.acme:orders:jar:all:1.0", "maven:org.acme:orders:jar:all:1.0"),
    ],
)
def test_maven_coordinates_are_written_in_canonical_form(artifact: BuiltArtifact, coordinates: str, uri: str) -> None:
    assert released(artifact.path.parent, maven=[coordinates])["artifacts"][0]["uri"] == uri


@cases(
    "coordinates",
    ["org.acme:orders:zip:1-SNAPSHOT", "org.acme:orders:1.0-snapshot", "orders", "a:b", "a:b:c:d:e:f", "a b:c:1", ""],
)
def test_snapshots_and_malformed_coordinates_are_refused(artifact: BuiltArtifact, coordinates: str) -> None:
    assert refusal(artifact.path.parent, maven=[coordinates]).code == "INVALID_MAVEN_COORDINATES"


def test_each_artifact_has_its_coordinates(artifact: BuiltArtifact, second: Path) -> None:
    carrier, coordinates = "org.acme.orders-artifact", ["org.acme:one:zip:1.0", "org.acme:two:zip:1.0"]
    document = released(artifact.path.parent, second, artifact.path, carrier=carrier, maven=coordinates)
    assert {entry["artifactId"]: entry["uri"] for entry in document["artifacts"]} == {
        "second-artifact": "maven:org.acme:one:zip:1.0",
        "org.acme.orders-artifact": "maven:org.acme:two:zip:1.0",
    }
    (artifact.path.parent / "pipeline-release.json").unlink()
    error = refusal(artifact.path.parent, carrier=carrier, maven=coordinates[:1])
    assert error.code == "INVALID_MAVEN_COORDINATES"
    assert "in this order: org.acme.orders.zip, second.zip" in error.message


def test_one_of_several_artifacts_carries_the_contract_and_hosts_the_steps(
    artifact: BuiltArtifact, second: Path
) -> None:
    error = refusal(artifact.path.parent)
    assert error.code == "INVALID_CARRIER"
    assert error.message.endswith("--carrier: org.acme.orders-artifact, second-artifact")
    assert refusal(artifact.path.parent, carrier="gone").code == "INVALID_CARRIER"

    document = released(artifact.path.parent, carrier="second-artifact")
    assert document["compiledTruthArtifactId"] == "second-artifact"
    hosted = {each["artifactId"]: (each["stepIds"], each["capabilities"]) for each in document["artifacts"]}
    assert hosted == {
        "org.acme.orders-artifact": ([], []),
        "second-artifact": (["Ship it"], ["celery", "rest"]),
    }


def test_images_pin_where_the_artifact_runs(artifact: BuiltArtifact) -> None:
    document = released(artifact.path.parent, images=[IMAGE, IMAGE.replace("/app@", "/gpu@")])
    assert document["artifacts"][1] == {
        "artifactId": "image-1",
        "kind": "container-image",
        "uri": IMAGE,
        "digest": DIGEST,
        "stepIds": [],
        "capabilities": [],
    }
    assert document["artifacts"][2]["artifactId"] == "image-2"
    assert document["releaseVersion"] not in {each["digest"] for each in document["artifacts"]}


@cases("image", ["acme/app", "oci://registry.example/acme/app:1", "maven:a:b:1", f"{IMAGE}0"])
def test_an_image_needs_a_digest(artifact: BuiltArtifact, image: str) -> None:
    assert refusal(artifact.path.parent, images=[image]).code == "INVALID_IMAGE"


def test_a_file_name_that_gives_no_artifact_id_is_refused(artifact: BuiltArtifact) -> None:
    odd = artifact.path.rename(artifact.path.with_name("my orders.zip"))
    error = refusal(odd.parent)
    assert error.code == "INVALID_ARTIFACT_NAME"
    assert "rename the file" in error.message


def test_a_release_that_breaks_a_rule_is_not_written(artifact: BuiltArtifact, second: Path, tmp_path: Path) -> None:
    """The archives have the same contract version, and different bytes of the contract."""
    with zipfile.ZipFile(artifact.path) as archive, zipfile.ZipFile(second, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name) + (b"\n" if name == CONTRACT_ENTRY else b""))
    error = refusal(artifact.path.parent, carrier="second-artifact")
    assert error.code == "INVALID_RELEASE"
    assert "CONTRACT_DIFFERS_FROM_CARRIER: pipeline-release.json#artifacts[0]: profile tpf-2026-10: " in error.message
    assert list(artifact.path.parent.glob("*.json")) == []


def test_options_of_the_newer_profile_need_it(artifact: BuiltArtifact) -> None:
    with pytest.raises(DefinitionError, match="WRONG_PROFILE"):
        release(artifact.path.parent, locations=Locations(images=[IMAGE]))


def test_the_exact_bytes_are_signed(artifact: BuiltArtifact, tmp_path: Path) -> None:
    key = make(tmp_path / "ci.pem").private
    written = release(artifact.path.parent, profile=Profile.TPF_2026_10, sign_with=[key])
    assert written.envelope == artifact.path.parent / ENVELOPE_NAME
    released(artifact.path.parent)
    assert not written.envelope.exists()
