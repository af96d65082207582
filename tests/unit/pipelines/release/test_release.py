import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as Witness
from securesystemslib.signer import SSlibKey

from pipelines import DefinitionError
from pipelines.release import signing_key
from pipelines.release.descriptor import release
from pipelines.release.files import Repositories
from pipelines.release.folders import descriptor_in
from pipelines.release.packaging import BuiltArtifact
from pipelines.release.verify_release import Verification, verify
from releases.states import AttachmentKind
from releases.trust.attachments import examine
from tests.raising import error_of
from tests.unit.pipelines.conftest import change_descriptor
from tests.unit.wire.documents import examples
from wire.documents import signing
from wire.documents.descriptor import ENVELOPE_NAME, CarrierDescriptor, Profile, parse_descriptor
from wire.findings import Severity

ARTIFACT = "org.acme.orders-artifact"


def located(folder: Path, *artifacts: Path, **locations: Any) -> dict[str, Any]:
    written = release(folder, artifacts, profile=Profile.TPF_2026_10, **locations)
    data = written.path.read_bytes()
    assert json.loads(data) == written.document
    assert isinstance(parse_descriptor(data), CarrierDescriptor)
    return written.document


def refusal(folder: Path, *artifacts: Path, **locations: Any) -> DefinitionError:
    before = sorted(folder.rglob("*"))
    refused = error_of(DefinitionError, located, folder, *artifacts, **locations)
    assert sorted(folder.rglob("*")) == before
    return refused


def test_the_release_pins_the_artifact_by_its_digest(built: BuiltArtifact) -> None:
    written = release(built.path.parent)
    assert written.path == built.path.parent / built.digest.replace(":", "-") / "pipeline-release.json"
    assert json.loads(written.path.read_bytes()) == written.document
    artifact = examples.artifact(ARTIFACT, "local-file", "org.acme.orders.zip", built.digest, ["Ship it"])
    identity = {"pipelineId": "org.acme.orders", "contractVersion": built.contract["contractVersion"]}
    versions = {"schemaVersion": 1, "releaseVersion": built.digest}
    assert written.document == {**versions, **identity, "artifacts": [artifact]}
    first = located(built.path.parent, release_version="1.0")
    copy = built.path.parent.resolve() / "1.0" / built.path.name
    carrier = {"kind": "application-archive", "uri": copy.as_uri(), "capabilities": ["celery", "rest"]}
    expected = {"compiledTruthArtifactId": ARTIFACT, "artifacts": [artifact | carrier], "releaseVersion": "1.0"}
    assert first == written.document | expected
    assert copy.read_bytes() == built.path.read_bytes()


def test_a_release_is_never_replaced_and_only_completed(built: BuiltArtifact, tmp_path: Path) -> None:
    dist = built.path.parent
    folder = release(dist, release_version="1.0").path.parent
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    with zipfile.ZipFile(built.path, "a") as archive:
        archive.writestr("orders/tax.py", "RATE = 19")
    refused = refusal(dist, release_version="1.0")
    assert (refused.code, "orders/tax.py" in refused.message) == ("RELEASE_EXISTS", True)
    release(dist, release_version="2.0")
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept
    before = (folder / "pipeline-release.json").read_bytes()
    change_descriptor(folder / "pipeline-release.json", pipelineId="org.acme.others")
    others = refusal(dist, release_version="1.0")
    assert "a release of org.acme.others; give org.acme.orders another --out" in others.message
    (folder / "pipeline-release.json").write_bytes(before)
    (folder / built.path.name).rename(tmp_path / built.path.name)
    signed = release(dist, [tmp_path / built.path.name], release_version="1.0", sign_with=[key(tmp_path)])
    assert {path: path.read_bytes() for path in folder.iterdir() if path != signed.envelope} == kept
    again = release(dist, [tmp_path / built.path.name], release_version="1.0")
    assert again.envelope == signed.envelope, "it signs the same bytes"
    (dist / "3.0").mkdir()
    (dist / "3.0" / "notes").touch()
    assert refusal(dist, release_version="3.0").code == "OUT_DIR_UNWRITABLE"
    assert not [path for path in dist.iterdir() if path.name.startswith(".")]


def test_a_path_names_a_release_or_the_error_lists_those_that_it_could(built: BuiltArtifact) -> None:
    def refused(path: Path) -> str:
        return str(error_of(DefinitionError, descriptor_in, path)).removeprefix("NO_RELEASE: ")

    dist = built.path.parent
    assert "pipelines release orders.py" in refused(dist)
    first = release(dist, release_version="1.0").path
    assert [descriptor_in(path) for path in (dist, first.parent, first)] == [first] * 3
    assert f"{dist} has {dist / '1.0'}" in refused(dist / "pipeline-release.json")
    release(dist, release_version="2.0")
    shutil.copy(first, dist)  # where earlier versions wrote it
    listed = refused(dist)
    assert all(str(dist / name) in listed for name in ("1.0", "2.0", "pipeline-release.json"))


def key(folder: Path) -> Path:
    return signing_key.make(folder / "key.pem").private


def test_several_artifacts_of_one_contract_make_one_release(built: BuiltArtifact) -> None:
    folder = built.path.parent
    second = Path(shutil.copy(built.path, folder / "second.zip"))
    with zipfile.ZipFile(second, "a") as archive:
        archive.writestr("more.txt", "more")
    document = release(folder, [built.path, second]).document
    assert [entry["artifactId"] for entry in document["artifacts"]] == [ARTIFACT, "second-artifact"]
    assert document["releaseVersion"].startswith("sha256:")
    assert document["releaseVersion"] not in {entry["digest"] for entry in document["artifacts"]}

    assert refusal(folder).code == "INVALID_CARRIER"
    assert refusal(folder, carrier="gone").code == "INVALID_CARRIER"

    document = located(folder, carrier="second-artifact", release_version="2.0")
    assert document["compiledTruthArtifactId"] == "second-artifact"
    hosted = {entry["artifactId"]: (entry["stepIds"], entry["capabilities"]) for entry in document["artifacts"]}
    assert hosted == {ARTIFACT: ([], []), "second-artifact": (["Ship it"], ["celery", "rest"])}


def test_a_release_that_breaks_a_rule_is_not_written(built: BuiltArtifact) -> None:
    assert error_of(DefinitionError, release, built.path.parent, release_version="a\0b").code == "INVALID_RELEASE"
    assert list(built.path.parent.glob("*.json")) == []


def test_a_key_is_readable_only_by_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    made = signing_key.make(tmp_path / "ci.pem")
    assert made.private.stat().st_mode & 0o777 == 0o600
    key = signing_key.load(made.private)
    assert signing.read_public_key(made.public.read_text()) == key.public_key()
    assert made.key_id == signing.key_id(key.public_key())
    files = {made.private: made.private.read_bytes(), made.public: made.public.read_bytes()}
    for missing in files:
        for path, content in files.items():
            path.write_bytes(content)
        missing.unlink()
        assert error_of(DefinitionError, signing_key.make, tmp_path / "ci.pem").code == "KEY_EXISTS"
        assert {path: path.read_bytes() for path in files if path.exists()} == {
            path: content for path, content in files.items() if path != missing
        }


def test_a_passphrase_locks_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing_key.PASSPHRASE, "a secret of ours")
    made = signing_key.make(tmp_path / "ci.pem")
    assert made.encrypted
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in made.private.read_bytes()
    assert signing_key.load(made.private).public_key() == signing.read_public_key(made.public.read_text())
    monkeypatch.setenv(signing_key.PASSPHRASE, "another secret")
    wrong = error_of(DefinitionError, signing_key.load, made.private)
    monkeypatch.delenv(signing_key.PASSPHRASE)
    missing = error_of(DefinitionError, signing_key.load, made.private)
    assert [error.code for error in (wrong, missing)] == ["SIGNING_KEY_LOCKED"] * 2
    assert ("secret" in wrong.message, signing_key.PASSPHRASE in missing.message) == (False, True)


def test_the_envelope_signs_the_exact_bytes_and_other_readers_accept_it(built: BuiltArtifact, tmp_path: Path) -> None:
    dist = built.path.parent
    keys = [signing_key.make(tmp_path / name) for name in ("a.pem", "b.pem")]
    written = release(dist, sign_with=[key.private for key in keys])
    assert written.envelope == written.path.with_name("pipeline-release.dsse.json")
    data, descriptor = written.envelope.read_bytes(), written.path.read_bytes()
    evidence = examine(data, parse_descriptor(descriptor))
    assert (evidence.kind, evidence.findings) == (AttachmentKind.SIGNATURE, [])
    witness = Witness.from_dict(json.loads(data))
    assert (witness.payload, witness.payload_type) == (descriptor, signing.RELEASE_TYPE)
    public = [signing.read_public_key(key.public.read_text()) for key in keys]
    others = [SSlibKey.from_crypto(other, signing.key_id(other)) for other in public]
    assert set(witness.verify(list(others), 2)) == {key.key_id for key in keys}


def released(built: BuiltArtifact, profile: Profile = Profile.TPF_2026_10, **locations: Any) -> Path:
    return release(built.path.parent / profile, [built.path], release_version="1.0", profile=profile, **locations).path


def errors(verified: Verification) -> list[str]:
    return [finding.code for finding in verified.findings if finding.severity is Severity.ERROR]


def test_the_file_that_a_uri_names_is_the_artifact_even_if_another_file_has_the_digest(built: BuiltArtifact) -> None:
    descriptor = released(built)
    artifact = descriptor.with_name(built.path.name)
    artifact.rename(descriptor.with_name("copy.zip"))
    artifact.write_bytes(b"other")
    verified = verify(descriptor)
    assert (verified.exit_status, errors(verified)) == (4, ["ARTIFACT_DIGEST_MISMATCH"])
    assert verified.artifacts[0].status == "MISMATCH"


def test_a_repository_decides_about_a_maven_uri(built: BuiltArtifact, tmp_path: Path) -> None:
    descriptor = released(built, maven=["org.acme:orders:zip:1.0"])
    assert verify(descriptor).exit_status == 0
    repository = tmp_path / "repository"
    file = repository / "org/acme/orders/1.0/orders-1.0.zip"
    file.parent.mkdir(parents=True)
    repositories = Repositories([str(repository)])
    assert errors(verify(descriptor, repositories=repositories)) == ["ARTIFACT_FILE_MISSING"]
    file.write_bytes(b"other")
    assert errors(verify(descriptor, repositories=repositories)) == ["ARTIFACT_DIGEST_MISMATCH"]
    shutil.copy(built.path, file)
    verified = verify(descriptor, repositories=repositories)
    assert (verified.exit_status, verified.artifacts[0].found_at) == (0, str(file))


def test_a_descriptor_that_breaks_a_rule_is_rejected(built: BuiltArtifact) -> None:
    descriptor = released(built)
    change_descriptor(descriptor, contractVersion="other")
    verified = verify(descriptor)
    assert (verified.exit_status, errors(verified)) == (3, ["ARTIFACT_CONTRACT_VERSION_MISMATCH"])
    # The archive of an older release needs no carrier. Its contract is still compared with the descriptor.
    descriptor = released(built, Profile.TPF_2026_08)
    change_descriptor(descriptor, pipelineId="org.acme.others")
    assert errors(verify(descriptor)) == ["ARTIFACT_PIPELINE_MISMATCH"]


def test_a_signature_is_for_these_bytes(built: BuiltArtifact, tmp_path: Path) -> None:
    key = signing_key.make(tmp_path / "ci.pem").private
    signed = release(built.path.parent, profile=Profile.TPF_2026_10, sign_with=[key])
    assert verify(signed.path).exit_status == 0
    change_descriptor(signed.path)
    assert errors(verify(signed.path)) == ["SIGNATURE_OTHER_DESCRIPTOR"]
    (built.path.parent / ENVELOPE_NAME).write_text("[]")
    assert errors(verify(signed.path)) == ["SIGNATURE_OTHER_DESCRIPTOR"]
