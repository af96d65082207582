"""Registers releases: stores a descriptor with its files, and starts their verification."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError

from foundation import wakeup
from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import StagedBlob
from releases.errors import DescriptorInvalid, ReleaseConflict
from releases.models import Artifact, Attachment, Pipeline, Recipients, Release, WorkerGate
from releases.registration import image_registry, tenant_bytes
from releases.states import Status
from releases.trust import attachments
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    MAX_DESCRIPTOR_BYTES,
    CarrierDescriptor,
    Descriptor,
    Profile,
    parse_descriptor,
    profile_of,
    unpromotable,
)
from wire.documents.json_reader import scan
from wire.findings import DocumentError, Finding, Severity

VERIFY_TASK = "releases.verify"


@dataclass(frozen=True)
class UploadedArtifact:
    """An uploaded file, staged in the artifact store."""

    file_name: str
    staged: StagedBlob


@dataclass(frozen=True)
class _Upload:
    """An upload that was read, with its findings so far. `staged` are the files that its artifacts have, by digest."""

    tenant: Tenant
    actor: str
    document: bytes
    descriptor: Descriptor
    contract: bytes | None
    attached: Sequence[Attachment]
    findings: Sequence[Finding]
    staged: Mapping[str, StagedBlob]
    policy: Mapping[str, str]


@dataclass(frozen=True)
class Registration:
    release: Release
    created: bool


def register(
    tenant: Tenant,
    document: bytes,
    files: Sequence[UploadedArtifact],
    *,
    actor: str,
    pipeline_id: str | None = None,
    contract: bytes | None = None,
    attached: Sequence[bytes] = (),
    any_reference: bool = False,
    promotable: bool = False,
    worker_gate: WorkerGate = WorkerGate.REQUIRE,
    recipients: Recipients = Recipients.ENFORCE,
    lease_seconds: float = blob_lock.TIMEOUT_SECONDS,
) -> Registration:
    """Store an uploaded release with the status UPLOADED and start its verification.

    If the release is already stored with equal metadata, it is returned; the files replace missing or damaged bytes.
    Two descriptors of the profile `tpf-2026-10` are equal only if their bytes are. A file belongs to the artifacts that
    have its digest. `document` is the descriptor, `contract` an optional contract document. The documents in `attached`
    are attached to the release, even if it is already stored. With `any_reference`, an image reference that does not
    pin the digest of its artifact is a warning and not an error. With `promotable`, a location that other machines
    cannot always resolve is an error and not a warning. If this is the first release of its pipeline, the policy of the
    pipeline begins with `worker_gate` and `recipients`. Waits up to `lease_seconds` for a process that removes its
    bytes. The staged files are always consumed. Raises `DescriptorInvalid` with all findings, `ReleaseConflict` if the
    release is stored with different metadata, `ArtifactStoreUnavailable`, and what `attachments.attach` raises. The
    tenant's quotas raise `QuotaExceeded` and `StorageQuotaReached`.
    """
    try:
        descriptor = read_descriptor(document, pipeline_id)
        existing = _existing(tenant, descriptor, document, contract)
        if existing is not None:
            tenant_bytes.heal(existing, {file.staged.digest: file.staged for file in files}, lease_seconds)
            attachments.attach(existing, attached, actor=actor)
            if files:
                digests = sorted(file.staged.digest for file in files)
                existing.record(Act.RELEASE_RESTORE_BYTES, actor, digests=digests)
            return Registration(existing, created=False)
        documents = attachments.examined(attached, descriptor)
        wanted = {artifact.digest for artifact in descriptor.artifacts if artifact.kind.is_stored}
        findings = [
            *image_registry.unusable(descriptor, _severity(descriptor, any_reference)),
            *unpromotable(descriptor, Severity.ERROR if promotable else Severity.WARNING),
            *(_matches_no_artifact(file) for file in files if file.staged.digest not in wanted),
            *(Finding.from_json(finding) for document in documents for finding in document.findings),
        ]
        staged = {file.staged.digest: file.staged for file in files if file.staged.digest in wanted}
        policy = {"worker_gate": worker_gate, "recipients": recipients}
        upload = _Upload(tenant, actor, document, descriptor, contract, documents, findings, staged, policy)
        # The lease prevents the removal of these bytes until the rows that refer to them are committed.
        with blob_lock.shared(wanted, timeout=lease_seconds) as lease:
            registration = _store(lease, upload, wanted)
        if not registration.created:
            attachments.attach(registration.release, attached, actor=actor)
        return registration
    finally:
        for file in files:
            file.staged.discard()


def read_descriptor(document: bytes, pipeline_id: str | None = None) -> Descriptor:
    """Return an uploaded descriptor, of the pipeline `pipeline_id` if that is given. Raises `DescriptorInvalid`."""
    try:
        descriptor = parse_descriptor(document)
    except DocumentError as error:
        raise DescriptorInvalid(error.findings, _profile(document)) from None
    if pipeline_id is not None and descriptor.pipeline_id.strip() != pipeline_id.strip():
        message = "Release descriptor pipelineId does not match request path"
        finding = Finding("DESCRIPTOR_PIPELINE_MISMATCH", f"{DESCRIPTOR_NAME}#pipelineId", message)
        raise DescriptorInvalid([finding], descriptor.profile)
    return descriptor


def _profile(document: bytes) -> Profile | None:
    """Return the profile of an invalid descriptor. None if it is no JSON object."""
    members, _ = scan(document, name=DESCRIPTOR_NAME, limit=MAX_DESCRIPTOR_BYTES)
    return None if members is None else profile_of(members)


def _severity(descriptor: Descriptor, any_reference: bool) -> Severity:
    """Return the severity of an unusable image reference. If registries are checked, it is an error.

    The profile `tpf-2026-10` allows names of registries and repositories that no registry accepts.
    """
    lenient = any_reference or isinstance(descriptor, CarrierDescriptor)
    return Severity.WARNING if lenient and not settings.IMAGE_REGISTRY_CHECK else Severity.ERROR


def _existing(tenant: Tenant, descriptor: Descriptor, document: bytes, contract: bytes | None) -> Release | None:
    earlier = (
        Release.objects.select_related("pipeline__tenant", "pipeline__activation")
        .exclude(status=Status.REJECTED)
        .filter(
            pipeline__tenant=tenant,
            pipeline__pipeline_id=descriptor.pipeline_id,
            release_version=descriptor.release_version,
        )
        .first()
    )
    if earlier is not None and not _is_equal(earlier, descriptor, document):
        raise ReleaseConflict("Release version is already registered with different metadata")
    if earlier is not None and contract is not None and contract != _bytes(earlier.contract_document):
        raise ReleaseConflict(
            "Release version is already registered with a different contract document, or without one"
        )
    return earlier


def _is_equal(earlier: Release, descriptor: Descriptor, document: bytes) -> bool:
    if isinstance(descriptor, CarrierDescriptor):
        return _bytes(earlier.descriptor_document) == document
    return bool(earlier.descriptor == descriptor.normalised())


def _bytes(column: bytes | memoryview | None) -> bytes | None:
    return None if column is None else bytes(column)


def _store(lease: blob_lock.Lease, upload: _Upload, wanted: set[str]) -> Registration:
    fingerprints = {digest: blob.keep() for digest, blob in upload.staged.items()}
    try:
        with lease.transaction():
            tenant_bytes.admit(upload.tenant, {digest: blob.size for digest, blob in upload.staged.items()})
            # Sorted, so that two uploads of the same files cannot deadlock.
            for digest in sorted(fingerprints):
                blobs.record_sound(digest, size=upload.staged[digest].size, fingerprint=fingerprints[digest])
            release = _write_release(upload)
            attachments.write(release, upload.attached, actor=upload.actor)
            owned = tenant_bytes.owned(upload.tenant, wanted) | fingerprints.keys()
            _write_artifacts(release, upload.descriptor, owned)
            wakeup.send(VERIFY_TASK)
            release.record(Act.RELEASE_UPLOAD, upload.actor, descriptorDigest=release.descriptor_digest)
    except IntegrityError:
        # Another upload of the same version was committed first.
        existing = _existing(upload.tenant, upload.descriptor, upload.document, upload.contract)
        if existing is None:
            raise
        return Registration(existing, created=False)
    return Registration(release, created=True)


def _write_release(upload: _Upload) -> Release:
    descriptor = upload.descriptor
    pipeline, _ = Pipeline.objects.get_or_create(
        tenant=upload.tenant, pipeline_id=descriptor.pipeline_id, defaults=upload.policy
    )
    return Release.objects.create(
        pipeline=pipeline,
        contract_version=descriptor.contract_version,
        release_version=descriptor.release_version,
        descriptor=descriptor.normalised(),
        descriptor_document=upload.document,
        descriptor_digest=f"sha256:{hashlib.sha256(upload.document).hexdigest()}",
        status=Status.UPLOADED,
        findings=[finding.to_json() for finding in upload.findings],
        contract_document=upload.contract,
        uploaded_by=upload.actor,
    )


def _write_artifacts(release: Release, descriptor: Descriptor, owned: set[str]) -> None:
    Artifact.objects.bulk_create(
        Artifact(
            release=release,
            position=position,
            artifact_id=artifact.artifact_id,
            kind=artifact.kind,
            uri=artifact.uri,
            digest=artifact.digest,
            step_ids=list(artifact.step_ids),
            capabilities=list(artifact.capabilities),
            blob_id=artifact.digest if artifact.kind.is_stored and artifact.digest in owned else None,
        )
        for position, artifact in enumerate(descriptor.artifacts)
    )


def _matches_no_artifact(file: UploadedArtifact) -> Finding:
    message = (
        f"The uploaded file {file.file_name!r} has the digest {file.staged.digest}, "
        "which no stored artifact of the descriptor has"
    )
    return Finding("UPLOAD_MATCHES_NO_ARTIFACT", DESCRIPTOR_NAME, message)
