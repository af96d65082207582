"""Releases of both profiles are registered, activated and executed; a release of the newer one keeps exact bytes."""

import json
from typing import Any

import pytest

from executions.errors import InputInvalid
from executions.submission import admission
from releases.activation import policy
from releases.activation.activation import activate
from releases.errors import ReleaseConflict
from releases.models import Pipeline, Release
from releases.registration.registrar import Registration, register
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.releases.registration import located
from tests.releases.registration.located import CONTRACT, JAR, verdict
from wire.documents.descriptor import Profile

pytestmark = pytest.mark.django_db

OLDER = making.descriptor(CONTRACT, JAR, kind="jar")
NEWER = located.descriptor()
WITHOUT_BYTES = located.descriptor(located.artifact(JAR, uri="file:///builds/app.jar"))
OF_IMAGE = making.descriptor(CONTRACT, b"image", kind="container-image")


def send(owner: Tenant, document: bytes, *files: bytes) -> Registration:
    return register(owner, document, [making.staged(data) for data in files], actor="user:test")


def deployed(release: Release) -> Release:
    """Start a worker of the release and activate it."""
    making.worker(release, f"worker-{release.release_version}")
    activate(release, actor="user:test")
    return release


def accepting(owner: Tenant, missing_artifacts: str = "identity-only") -> Pipeline:
    """Return the pipeline of the releases, with this policy for missing artifacts."""
    pipeline, _ = Pipeline.objects.get_or_create(tenant=owner, pipeline_id=making.PIPELINE)
    return policy.change(pipeline, {"missingArtifacts": missing_artifacts}, actor="user:test")


def spaced(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


# --- both profiles ---


@cases(("document", "profile"), [(OLDER, Profile.TPF_2026_08), (NEWER, Profile.TPF_2026_10)])
def test_a_release_of_each_profile_is_verified_activated_and_executed(
    document: dict[str, Any], profile: Profile
) -> None:
    owner = making.tenant()
    release = making.upload(owner, document, JAR).release
    assert (release.status, release.profile, release.contract) == ("UPLOADED", profile, None)
    assert verdict(release) == ("REGISTERED", [])
    assert release.contract is not None
    assert (release.primary_artifact_id, release.artifacts.get().blob_id) == ("app", making.digest_of(JAR))
    execution = making.execution(deployed(release).pipeline.tenant)
    assert (execution.release, execution.contract_version) == (release, CONTRACT["contractVersion"])
    assert [claim.execution_id for claim in making.claimed(owner)] == [execution.pk]


# --- equality ---


def test_a_newer_release_keeps_the_exact_bytes_of_its_descriptor_and_has_a_conflict_with_others() -> None:
    owner, document = making.tenant(), spaced(NEWER)
    release = send(owner, document, JAR).release
    release.refresh_from_db()
    assert bytes(release.descriptor_document) == document
    assert release.descriptor_digest == making.digest_of(document)
    for verified in (False, True):
        if verified:
            making.verified(release)
        again = send(owner, document, JAR)
        assert (again.release, again.created) == (release, False)
        for other in (document + b"\n", spaced(OLDER)):
            with pytest.raises(ReleaseConflict):
                send(owner, other, JAR)
    assert bytes(Release.objects.get().descriptor_document) == document


# --- missing bytes ---


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_a_release_that_only_identifies_its_artifacts_accepts_any_input(document: dict[str, Any]) -> None:
    owner = making.tenant()
    accepting(owner)
    release = making.verified(making.upload(owner, document).release)
    if document is WITHOUT_BYTES:
        assert verdict(release)[1][1:] == [("ARTIFACT_IDENTITY_ONLY", "warning", "artifacts[0]")]
    assert (release.contract, release.environments, release.checkpoints) == (None, {}, False)
    deployed(release)
    assert admission.current(owner, making.PIPELINE).contract is None
    execution = making.execution(owner, value=[1, {"any": "value"}])
    assert (execution.release, execution.input_shape, execution.result_shape) == (release, "UNI", "SINGLE")
    assert [claim.execution_id for claim in making.claimed(owner)] == [execution.pk]


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_the_contract_of_a_release_without_bytes_is_its_document(document: dict[str, Any]) -> None:
    owner, many = making.tenant(), making.contract(steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])
    accepting(owner)
    document = {**document, "contractVersion": many["contractVersion"]}
    release = making.verified(making.upload(owner, document, contract=json.dumps(many).encode()).release)
    assert deployed(release).contract is not None
    with pytest.raises(InputInvalid):
        making.execution(owner, value={"n": 1})
    assert making.execution(owner, value=[{"n": 1}]).input_shape == "MULTI"
