"""Releases of both profiles are registered, activated and executed; a release of the newer one keeps exact bytes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from executions.errors import InputInvalid
from executions.models import Execution
from executions.submission import admission
from releases.activation import policy
from releases.activation.activation import activate
from releases.errors import DescriptorInvalid, ReleaseConflict
from releases.models import Pipeline, Release
from releases.registration.registrar import Registration, register, verify_release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.releases.registration import located
from tests.releases.registration.located import CHECKPOINTED, CONTRACT, JAR, TRUTH
from wire.documents.descriptor import NAMES_PROFILE, Profile

pytestmark = pytest.mark.django_db

OLDER = making.descriptor(CONTRACT, JAR, kind="jar")
NEWER = located.descriptor()
BESIDE = json.dumps(CONTRACT).encode()
FILE_URI = "file:///builds/app.jar"
SNAPSHOT = "maven:com.acme:app:1.2.3-SNAPSHOT"


def send(owner: Tenant, document: bytes, *files: bytes, **more: Any) -> Registration:
    return register(owner, document, [making.staged(data) for data in files], actor="user:test", **more)


def findings(release: Release) -> list[tuple[str, str, str]]:
    """Return the code, severity and field of each finding."""
    return [(finding["code"], finding["severity"], finding["field"].partition("#")[2]) for finding in release.findings]


def verdict(release: Release) -> tuple[str, list[tuple[str, str, str]]]:
    verify_release(release.pk)
    release.refresh_from_db()
    return release.status, findings(release)


def deployed(release: Release) -> Release:
    """Start a worker of the release and activate it."""
    making.worker(release, f"worker-{release.release_version}")
    activate(release, actor="user:test")
    return release


def accepting(owner: Tenant, missing_artifacts: str = "identity-only") -> Pipeline:
    """Return the pipeline of the releases, with this policy for missing artifacts."""
    pipeline, _ = Pipeline.objects.get_or_create(tenant=owner, pipeline_id=making.PIPELINE)
    return policy.change(pipeline, {"missingArtifacts": missing_artifacts}, actor="user:test")


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
    assert release.contract.document["steps"][0]["authoredName"] == "Validate"
    assert (release.primary_artifact_id, release.artifacts.get().blob_id) == ("app", making.digest_of(JAR))
    execution = making.execution(deployed(release).pipeline.tenant)
    assert (execution.release, execution.pipeline_id) == (release, making.PIPELINE)
    assert (execution.contract_version, execution.release_version) == (CONTRACT["contractVersion"], "1.0")
    [claim] = making.claimed(owner)
    assert claim.execution_id == execution.pk


def test_both_profiles_stand_side_by_side_in_a_pipeline() -> None:
    owner = making.tenant()
    older = making.verified(making.upload(owner, OLDER, JAR).release)
    newer = making.verified(making.upload(owner, located.descriptor(version="2.0"), JAR).release)
    assert older.pipeline_id == newer.pipeline_id
    assert older.contract == newer.contract
    pins = []
    for number, release in enumerate((older, newer, older)):
        activate(release, actor="user:test", reason="the next one")
        if number < 2:
            making.worker(release, f"worker-{release.release_version}")
        pins.append(making.execution(owner, f"key-{number}").release)
    assert pins == [older, newer, older]
    assert list(Execution.objects.order_by("execution_key").values_list("release", flat=True)) == [
        release.pk for release in pins
    ]


def test_an_image_and_the_carrier_of_its_contract_are_a_release() -> None:
    document = located.descriptor(located.truth(), located.image())
    release = making.upload(making.tenant(), document, TRUTH).release
    assert verdict(release) == ("REGISTERED", [])
    assert (release.primary_artifact_id, release.contract is None) == ("truth", False)
    assert [artifact.blob_id for artifact in release.artifacts.all()] == [making.digest_of(TRUTH), None]


# --- equality ---


def spaced(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def test_a_newer_release_keeps_the_exact_bytes_of_its_descriptor() -> None:
    owner, document = making.tenant(), spaced(NEWER)
    release = send(owner, document, JAR).release
    release.refresh_from_db()
    assert bytes(release.descriptor_document) == document
    assert release.descriptor_digest == making.digest_of(document)
    again = send(owner, document, JAR)
    assert (again.release, again.created) == (release, False)
    making.verified(release)
    assert send(owner, document).release == release


def test_a_newer_release_has_a_conflict_with_other_bytes() -> None:
    owner = making.tenant()
    release = send(owner, spaced(NEWER), JAR).release
    others = (json.dumps(NEWER).encode(), spaced(NEWER) + b"\n", spaced(dict(reversed(NEWER.items()))), spaced(OLDER))
    for verified in (False, True):
        for other in others:
            with pytest.raises(ReleaseConflict):
                send(owner, other, JAR)
        if not verified:
            making.verified(release)
    release.refresh_from_db()
    assert Release.objects.get() == release
    assert bytes(release.descriptor_document) == spaced(NEWER)


def test_an_older_release_is_compared_by_its_metadata() -> None:
    owner = making.tenant()
    release = send(owner, spaced(OLDER), JAR).release
    reversed_members = json.dumps(dict(reversed(OLDER.items()))).encode()
    assert send(owner, reversed_members, JAR).release == release
    release.refresh_from_db()
    assert bytes(release.descriptor_document) == spaced(OLDER)
    assert release.descriptor_digest == making.digest_of(spaced(OLDER))
    for other in ({**OLDER, "contractVersion": "other"}, NEWER):
        with pytest.raises(ReleaseConflict):
            send(owner, json.dumps(other).encode(), JAR)


def test_the_version_of_a_rejected_release_may_have_other_bytes() -> None:
    owner = making.tenant()
    assert verdict(send(owner, spaced(NEWER)).release)[0] == "REJECTED"
    corrected = send(owner, json.dumps(NEWER).encode(), JAR)
    assert corrected.created
    making.verified(corrected.release)


# --- findings ---


@cases(
    ("artifacts", "code"),
    [
        ([located.artifact(JAR, uri="app.jar")], "ARTIFACT_URI_SCHEME_UNSUPPORTED"),
        ([located.artifact(JAR, kind="local-file")], "ARTIFACT_KIND_UNSUPPORTED"),
        ([located.image()], "COMPILED_TRUTH_WRONG_KIND"),
        ([located.artifact(JAR), located.artifact(JAR)], "ARTIFACT_ID_REPEATED"),
    ],
)
def test_every_finding_about_a_newer_descriptor_names_the_profile(
    artifacts: Sequence[dict[str, Any]], code: str
) -> None:
    with pytest.raises(DescriptorInvalid) as invalid:
        making.upload(making.tenant(), located.descriptor(*artifacts), JAR)
    found = invalid.value.errors
    assert found
    assert all(error["message"].startswith(NAMES_PROFILE) for error in found), found
    assert {error["code"] for error in found} == {code}
    assert not Release.objects.exists()


def test_every_finding_of_a_verification_names_the_profile() -> None:
    other = making.archive(making.contract("org.example.other"))
    document = located.descriptor(located.truth(other), located.artifact(JAR), located.artifact(b"x", "gone"))
    release = making.upload(making.tenant(), document, other, JAR).release
    status, found = verdict(release)
    assert status == "REJECTED"
    assert {code for code, _, _ in found} >= {
        "ARTIFACT_PIPELINE_MISMATCH",
        "CONTRACT_DIFFERS_FROM_CARRIER",
        "ARTIFACT_FILE_MISSING",
        "STEP_PLACED_TWICE",
    }
    assert all(finding["message"].startswith(NAMES_PROFILE) for finding in release.findings)
    assert release.contract is None


@cases(("promotable", "expected"), [(False, ("REGISTERED", "warning")), (True, ("REJECTED", "error"))])
def test_a_promotable_release_has_lasting_locations(promotable: bool, expected: tuple[str, str]) -> None:
    status, severity = expected
    for uri in (FILE_URI, SNAPSHOT):
        document = located.descriptor(located.artifact(JAR, uri=uri))
        release = making.upload(making.tenant(), document, JAR, promotable=promotable).release
        assert verdict(release) == (status, [("ARTIFACT_NOT_PROMOTABLE", severity, "artifacts[0].uri")])
        assert release.findings[0]["message"].startswith(NAMES_PROFILE)
    for document in (OLDER, NEWER):
        release = making.upload(making.tenant(), document, JAR, promotable=promotable).release
        assert verdict(release) == ("REGISTERED", [])


# --- missing bytes ---


def test_a_newer_release_without_its_bytes_is_rejected() -> None:
    release = making.upload(making.tenant(), located.descriptor(located.artifact(JAR, uri=FILE_URI))).release
    assert verdict(release) == (
        "REJECTED",
        [
            ("ARTIFACT_NOT_PROMOTABLE", "warning", "artifacts[0].uri"),
            ("ARTIFACT_FILE_MISSING", "error", "artifacts[0]"),
        ],
    )
    assert release.contract is None


WITHOUT_BYTES = located.descriptor(located.artifact(JAR, uri=FILE_URI))
OF_IMAGE = making.descriptor(CONTRACT, b"image", kind="container-image")


def without_bytes(owner: Tenant, document: dict[str, Any], contract: bytes | None) -> Release:
    """Register a release without its bytes, by the policy identity-only."""
    accepting(owner)
    release = making.verified(making.upload(owner, document, contract=contract).release)
    assert [artifact.blob for artifact in release.artifacts.all()] == [None]
    return deployed(release)


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_a_release_that_only_identifies_its_artifacts_accepts_any_input(document: dict[str, Any]) -> None:
    owner = making.tenant()
    release = without_bytes(owner, document, None)
    if document is WITHOUT_BYTES:
        assert findings(release)[1:] == [("ARTIFACT_IDENTITY_ONLY", "warning", "artifacts[0]")]
        assert all(finding["message"].startswith(NAMES_PROFILE) for finding in release.findings)
    assert (release.contract, release.environments, release.checkpoints) == (None, {}, False)
    assert admission.current(owner, making.PIPELINE).contract is None
    execution = making.execution(owner, value=[1, {"any": "value"}])
    assert (execution.release, execution.input_shape, execution.result_shape) == (release, "UNI", "SINGLE")
    [claim] = making.claimed(owner)
    assert claim.execution_id == execution.pk


MANY = making.contract(steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])


@cases("document", [OF_IMAGE, WITHOUT_BYTES])
def test_the_contract_of_a_release_without_bytes_is_its_document(document: dict[str, Any]) -> None:
    owner, document = making.tenant(), {**document, "contractVersion": MANY["contractVersion"]}
    release = without_bytes(owner, document, json.dumps(MANY).encode())
    assert release.contract is not None
    with pytest.raises(InputInvalid):
        making.execution(owner, value={"n": 1})
    execution = making.execution(owner, value=[{"n": 1}])
    assert (execution.release, execution.input_shape) == (release, "MULTI")


def test_a_contract_document_must_place_its_steps_also_without_bytes() -> None:
    owner = making.tenant()
    accepting(owner)
    document = located.descriptor(located.artifact(JAR, uri=FILE_URI, stepIds=["Other"]))
    status, found = verdict(making.upload(owner, document, contract=BESIDE).release)
    assert status == "REJECTED"
    assert [code for code, severity, _ in found if severity == "error"] == ["STEP_UNKNOWN", "STEP_NOT_PLACED"]


@cases(
    ("at_upload", "at_verification", "expected"),
    [("reject", "identity-only", "REGISTERED"), ("identity-only", "reject", "REJECTED")],
)
def test_the_policy_at_the_verification_applies(at_upload: str, at_verification: str, expected: str) -> None:
    owner = making.tenant()
    accepting(owner, at_upload)
    release = making.upload(owner, WITHOUT_BYTES).release
    accepting(owner, at_verification)
    assert verdict(release)[0] == expected
    accepting(owner, at_upload)
    assert verdict(release)[0] == expected


def test_the_policy_does_not_admit_wrong_bytes() -> None:
    """Bytes that arrive are verified: the file belongs to no artifact, so its artifact has no bytes."""
    owner = making.tenant()
    accepting(owner)
    status, found = verdict(making.upload(owner, NEWER, b"other").release)
    assert (status, found[0]) == ("REJECTED", ("UPLOAD_MATCHES_NO_ARTIFACT", "error", ""))


# --- checkpoints ---


@cases(
    ("artifacts", "files"),
    [
        ([located.artifact(CHECKPOINTED)], [CHECKPOINTED]),
        ([located.truth(), located.artifact(CHECKPOINTED)], [TRUTH, CHECKPOINTED]),
        ([located.artifact(JAR)], [JAR]),
    ],
)
def test_an_artifact_of_a_newer_release_requests_checkpoints(
    artifacts: list[dict[str, Any]], files: list[bytes]
) -> None:
    owner, requested = making.tenant(), CHECKPOINTED in files
    release = deployed(making.verified(making.upload(owner, located.descriptor(*artifacts), *files).release))
    execution = making.execution(owner)
    assert (release.checkpoints, execution.checkpoints) == (requested, requested)
    assert admission.current(owner, making.PIPELINE).checkpoints is requested
    [claim] = making.claimed(owner)
    assert claim.execution_id == execution.pk


def test_a_rejected_release_has_no_checkpoints() -> None:
    document = located.descriptor(located.artifact(CHECKPOINTED, stepIds=[]))
    release = making.upload(making.tenant(), document, CHECKPOINTED).release
    assert verdict(release)[0] == "REJECTED"
    assert not release.checkpoints
