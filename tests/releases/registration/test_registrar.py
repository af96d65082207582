import json
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.errors import InputInvalid
from executions.submission import admission
from governance.activation.activation import activate
from releases import queries
from releases.artifacts.store import BlobStat, artifact_store
from releases.errors import DescriptorInvalid, ReleaseConflict
from releases.models import ArtifactUpload, Blob, Contract, Pipeline, Release
from releases.registration.registrar import Registration, register
from releases.registration.verification import verify_release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.making import verdict
from tests.raw_sql import raised, rows
from tests.releases.registration import located
from tests.releases.registration.located import JAR
from tests.releases.registration.sending import opened

pytestmark = pytest.mark.django_db

CONTRACT = making.contract()
DATA = making.archive(CONTRACT)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def staged_files() -> list[Any]:
    return list(artifact_store().staging.iterdir())


def test_a_release_is_stored_then_verified(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> None:
    owner = making.tenant()
    with django_capture_on_commit_callbacks() as rung:
        registration = making.upload(owner, DESCRIPTOR, DATA)
    release = registration.release
    assert (registration.created, release.status, len(rung)) == (True, "UPLOADED", 1)
    assert release.contract is None
    assert staged_files() == []

    assert verdict(release) == ("REGISTERED", [])
    assert release.contract is not None
    assert release.contract.document["pipelineId"] == making.PIPELINE
    assert release.contract.document["steps"][0]["awaitTransport"] is None
    assert (release.primary_artifact_id, release.uploaded_by) == ("app", "user:test")
    artifact = release.artifacts.get()
    assert artifact.blob is not None
    assert (artifact.blob.digest, artifact.blob.size) == (making.digest_of(DATA), len(DATA))
    assert artifact_store().stat(artifact.blob.digest) == BlobStat(len(DATA), artifact.blob.fingerprint)


def test_a_different_document_for_a_stored_contract_version_is_rejected(owner: Tenant) -> None:
    making.registered(owner)
    changed = {**CONTRACT, "steps": [{**making.STEP, "authoredName": "Renamed"}]}
    data = making.archive(changed)
    release = making.upload(owner, making.descriptor(changed, data, "2.0"), data).release
    assert ("CONTRACT_CONFLICT", "pipeline-release.json#contractVersion") in verdict(release)[1]
    assert (release.status, release.contract) == ("REJECTED", None)
    assert Contract.objects.get(pipeline=release.pipeline).document["steps"][0]["authoredName"] == "Validate"


def test_an_unmatched_file_is_a_finding_and_not_stored(owner: Tenant) -> None:
    """A rejected release must not define its contract version."""
    stray = making.archive(None, code="stray")
    release = making.upload(owner, DESCRIPTOR, DATA, stray).release
    status, findings = verdict(release)
    assert (status, [code for code, _ in findings]) == ("REJECTED", ["UPLOAD_MATCHES_NO_ARTIFACT"])
    assert making.digest_of(stray) in release.findings[0]["message"]
    assert not Contract.objects.filter(pipeline=release.pipeline).exists()
    assert not Blob.objects.filter(digest=making.digest_of(stray)).exists()
    assert artifact_store().read(making.digest_of(stray)) is None
    assert staged_files() == []


def test_equal_metadata_returns_the_stored_release_in_any_order_of_members(owner: Tenant) -> None:
    first = making.upload(owner, DESCRIPTOR, DATA).release
    turned = dict(reversed(DESCRIPTOR.items()))
    turned["artifacts"] = [{**turned["artifacts"][0], "stepIds": [], "capabilities": None}]
    again = making.upload(owner, turned, DATA)
    assert (again.release.pk, again.created) == (first.pk, False)
    making.upload(owner, DESCRIPTOR, b"stray")
    assert artifact_store().stat(making.digest_of(b"stray")) is None
    verify_release(first.pk)
    assert making.upload(owner, DESCRIPTOR).release.status == "REGISTERED"
    assert Release.objects.filter(pipeline__tenant=owner).count() == 1
    assert staged_files() == []


def test_different_metadata_for_a_stored_version_is_a_conflict_that_changes_nothing(owner: Tenant) -> None:
    making.upload(owner, DESCRIPTOR, DATA)
    [artifact] = DESCRIPTOR["artifacts"]
    before = rows(Release)
    for change in (
        {"contractVersion": "sha256:other"},
        {"artifacts": [{**artifact, "uri": "elsewhere.zip"}]},
        {"artifacts": [artifact, {**artifact, "artifactId": "second"}]},
    ):
        raised(ReleaseConflict, making.upload, owner, {**DESCRIPTOR, **change}, DATA, b"and a file")
    assert (rows(Release), staged_files()) == (before, [])


def test_a_rejected_version_may_be_uploaded_again_and_bytes_need_not(owner: Tenant) -> None:
    rejected = making.upload(owner, DESCRIPTOR).release
    assert verdict(rejected)[0] == "REJECTED"
    again = making.upload(owner, DESCRIPTOR, DATA)
    assert (again.created, again.release.pk != rejected.pk) == (True, True)
    assert verdict(again.release) == ("REGISTERED", [])
    assert making.reread(rejected).status == "REJECTED"
    newer = making.upload(owner, {**DESCRIPTOR, "releaseVersion": "1.1"}).release
    assert verdict(newer) == ("REGISTERED", [])
    assert newer.contract_id == again.release.contract_id


def test_verification_reads_the_bytes_and_unreadable_ones_give_no_verdict() -> None:
    """The file is replaced by a directory, because root can read any file."""
    release = making.upload(making.tenant(), DESCRIPTOR, DATA).release
    file = making.stored_file(making.digest_of(DATA))
    file.unlink()
    file.mkdir()
    assert verdict(release) == ("VERIFYING", [])
    file.rmdir()
    file.write_bytes(making.archive(CONTRACT, code="swapped"))
    assert verdict(release) == ("REJECTED", [("ARTIFACT_DIGEST_MISMATCH", "pipeline-release.json#artifacts[0].digest")])


@cases(
    ("document", "codes"),
    (
        json.dumps({**DESCRIPTOR, "releaseVersion": " ", "artifacts": [], "x": 1}).encode(),
        {"DESCRIPTOR_BLANK_MEMBER", "DESCRIPTOR_NO_ARTIFACTS", "DESCRIPTOR_UNKNOWN_MEMBER"},
    ),
    (json.dumps({**DESCRIPTOR, "pipelineId": "org.example.other"}).encode(), {"DESCRIPTOR_PIPELINE_MISMATCH"}),
)
def test_an_invalid_descriptor_is_rejected_and_stores_nothing(owner: Tenant, document: bytes, codes: set[str]) -> None:
    with pytest.raises(DescriptorInvalid) as caught:
        register(owner, document, [making.staged(DATA)], actor="user:test", pipeline_id=making.PIPELINE)
    assert {error["code"] for error in caught.value.errors} == codes
    assert not Pipeline.objects.filter(tenant=owner).exists()
    assert staged_files() == []
    assert artifact_store().read(making.digest_of(DATA)) is None


OLDER = making.descriptor(CONTRACT, JAR, kind="jar")
NEWER = located.descriptor()
WITHOUT_BYTES = located.descriptor(located.artifact(JAR, uri="file:///builds/app.jar"))
OF_IMAGE = making.descriptor(CONTRACT, b"image", kind="container-image")


def send(owner: Tenant, document: bytes, *files: bytes) -> Registration:
    return register(owner, document, [making.staged(data) for data in files], actor="user:test")


def deployed(release: Release) -> Release:
    making.worker(release, f"worker-{release.release_version}")
    activate(release, actor="user:test")
    return release


def accepting() -> Tenant:
    owner = making.tenant()
    Pipeline.objects.create(tenant=owner, pipeline_id=making.PIPELINE, missing_artifacts="identity-only")
    return owner


def spaced(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def test_a_newer_release_keeps_the_exact_bytes_of_its_descriptor_and_has_a_conflict_with_others() -> None:
    owner, document = making.tenant(), spaced(NEWER)
    release = send(owner, document, JAR).release
    assert bytes(making.reread(release).descriptor_document) == document
    assert release.descriptor_digest == making.digest_of(document)
    for verified in (False, True):
        if verified:
            making.verified(release)
        again = send(owner, document, JAR)
        assert (again.release, again.created) == (release, False)
        for other in (document + b"\n", spaced(OLDER)):
            raised(ReleaseConflict, send, owner, other, JAR)
    assert bytes(Release.objects.get().descriptor_document) == document


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_a_release_that_only_identifies_its_artifacts_accepts_any_input(document: dict[str, Any]) -> None:
    owner = accepting()
    release = making.verified(making.upload(owner, document).release)
    if document is WITHOUT_BYTES:
        assert located.verdict(release)[1][1:] == [("ARTIFACT_IDENTITY_ONLY", "warning", "artifacts[0]")]
    assert (release.contract, release.environments, release.checkpoints) == (None, {}, False)
    deployed(release)
    assert admission.current(owner, making.PIPELINE).contract is None
    execution = making.execution(owner, value=[1, {"any": "value"}])
    assert (execution.release, execution.input_shape, execution.result_shape) == (release, "UNI", "SINGLE")
    assert [claim.execution_id for claim in making.claimed(owner)] == [execution.pk]


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_the_contract_of_a_release_without_bytes_is_its_document(document: dict[str, Any]) -> None:
    owner, many = accepting(), making.contract(steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])
    document = {**document, "contractVersion": many["contractVersion"]}
    release = making.verified(making.upload(owner, document, contract=json.dumps(many).encode()).release)
    assert deployed(release).contract is not None
    raised(InputInvalid, making.execution, owner, value={"n": 1})
    assert making.execution(owner, value=[{"n": 1}]).input_shape == "MULTI"


# --- two tenants ---


@pytest.fixture
def twins(owner: Tenant) -> tuple[Tenant, Tenant]:
    return owner, making.tenant()


def verified(owner: Tenant, *files: bytes, **changes: Any) -> Release:
    release = making.upload(owner, {**DESCRIPTOR, **changes}, *files).release
    making.verdict(release)
    return release


def test_each_tenant_registers_a_version_with_its_own_metadata(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    first = verified(here, DATA)
    [artifact] = DESCRIPTOR["artifacts"]
    second = verified(there, DATA, artifacts=[{**artifact, "uri": "elsewhere.zip"}])
    assert (first.status, second.status) == ("REGISTERED", "REGISTERED")
    for owner, release in ((here, first), (there, second)):
        assert queries.release(queries.pipeline(owner, making.PIPELINE), "1.0").pk == release.pk
        assert release.contract is not None
        assert release.contract.pipeline.tenant == owner


def test_a_contract_version_has_a_document_for_each_pipeline(twins: tuple[Tenant, Tenant]) -> None:
    for name, owner in zip(("Validate", "Renamed"), twins, strict=True):
        contract = {**CONTRACT, "steps": [{**making.STEP, "authoredName": name}]}
        data = making.archive(contract)
        release = making.verified(making.upload(owner, making.descriptor(contract, data), data).release)
        assert "CONTRACT_CONFLICT" not in {finding["code"] for finding in release.findings}


def test_a_direct_upload_of_another_tenant_gives_no_right_to_the_bytes(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    verified(making.tenant(), DATA)
    assert Blob.objects.get(digest=making.digest_of(DATA)).state == "SOUND"
    assert verified(here).status == "REJECTED", "knowledge of a digest gives no right"
    stored_upload(there)
    assert verified(here).status == "REJECTED"
    stored_upload(here)
    assert verified(here).status == "REGISTERED"


def stored_upload(owner: Tenant) -> None:
    opened(owner, making.digest_of(DATA))
    for status in ("VERIFYING", "STORED"):
        ArtifactUpload.objects.filter(tenant=owner).update(status=status)
