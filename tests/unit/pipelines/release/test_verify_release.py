"""Releases of both profiles, verified offline."""

import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.release.descriptor import ENVELOPE_NAME, release
from pipelines.release.located_artifacts import Locations
from pipelines.release.maven_repositories import Repositories
from pipelines.release.packaging import BuiltArtifact
from pipelines.release.signing_key import make
from pipelines.release.verify_release import ArtifactStatus, Verification, verify
from wire.documents.descriptor import Profile
from wire.findings import Severity



def released(built: BuiltArtifact, profile: Profile = Profile.TPF_2026_10, **locations: Any) -> Path:
    return release(built.path.parent, release_version="1.0", profile=profile, locations=Locations(**locations)).path


def errors(verified: Verification) -> list[str]:
    return [finding.code for finding in verified.findings if finding.severity is Severity.ERROR]


def change(descriptor: Path, **members: Any) -> None:
    descriptor.write_text(json.dumps(json.loads(descriptor.read_bytes()) | members))


def test_the_file_that_a_uri_names_is_the_artifact_even_if_another_file_has_the_digest(built: BuiltArtifact) -> None:
    descriptor = released(built)
    shutil.copy(built.path, built.path.with_name("copy.zip"))
    built.path.write_bytes(b"other")
    verified = verify(descriptor)
    assert (verified.exit_status, errors(verified)) == (4, ["ARTIFACT_DIGEST_MISMATCH"])
    assert verified.artifacts[0].status is ArtifactStatus.MISMATCH


def test_a_repository_decides_about_a_maven_uri(built: BuiltArtifact, tmp_path: Path) -> None:
    """Without a repository, a file next to the descriptor is enough."""
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
    change(descriptor, contractVersion="other")
    verified = verify(descriptor)
    assert (verified.exit_status, errors(verified)) == (3, ["ARTIFACT_CONTRACT_VERSION_MISMATCH"])
    # The archive of an older release needs no carrier. Its contract is still compared with the descriptor.
    descriptor = released(built, Profile.TPF_2026_08)
    change(descriptor, pipelineId="org.acme.others")
    assert errors(verify(descriptor)) == ["ARTIFACT_PIPELINE_MISMATCH"]


def test_a_signature_is_for_these_bytes(built: BuiltArtifact, tmp_path: Path) -> None:
    key = make(tmp_path / "ci.pem").private
    signed = release(built.path.parent, profile=Profile.TPF_2026_10, sign_with=[key])
    assert verify(signed.path).exit_status == 0
    change(signed.path)
    assert errors(verify(signed.path)) == ["SIGNATURE_OTHER_DESCRIPTOR"]
    (built.path.parent / ENVELOPE_NAME).write_text("[]")
    assert errors(verify(signed.path)) == ["SIGNATURE_OTHER_DESCRIPTOR"]
