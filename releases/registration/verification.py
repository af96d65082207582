"""Verifies registered releases and records the verdicts.

Bytes that were not uploaded are looked for in Maven repositories first.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from foundation.database import writes
from foundation.plurals import counted
from releases import metrics
from releases.artifacts import blobs
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactStoreUnavailable
from releases.models import Artifact, Blob, Contract, MissingArtifacts, Pipeline, Release
from releases.registration import image_registry, maven, tenant_bytes, verification_pool
from releases.registration.maven import OTHER_DIGEST, ArtifactRefused, RepositoryUnavailable, Unanswered
from releases.registration.progress import RELEASES, Progress
from releases.registration.verification_pool import VerificationUnavailable
from releases.states import MOVES, PENDING, Status
from tenancy.audit.acts import Act
from wire.documents import json_writer
from wire.documents.artifact_uri import MavenUri
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    NAMES_PROFILE,
    ArtifactRef,
    Descriptor,
    LocatedArtifactRef,
    artifact_field,
    descriptor_from_json,
)
from wire.documents.json_reader import shown
from wire.findings import Finding, Severity
from wire.release.verification import Verdict

BYTES_ARE_WRONG = frozenset({"ARTIFACT_DIGEST_MISMATCH", "ARTIFACT_FILE_MISSING", "ARTIFACT_IDENTITY_ONLY"})
"""Findings that a wrong read of the artifact store may cause."""
log = logging.getLogger(__name__)


def verify_release(release_id: int) -> None:
    """Verify an uploaded release and record the verdict, and count it in the metrics.

    Several processes may call this for the same release, at the same time or later. The first verdict is final. A child
    process reads the artifacts. If the store, a repository or a registry does not respond, or one read of the store is
    wrong, there is no verdict: the release stays VERIFYING, and the sweep retries it. After `verification_hours`, a
    release whose repository or registry does not respond is rejected.
    """
    release = Release.objects.select_related("pipeline__tenant").get(pk=release_id)
    if release.status not in PENDING:
        return
    begun = time.perf_counter()
    verdict = _verify_and_record(release)
    if verdict is not None:
        metrics.verifications.add(release.pipeline.tenant.slug, verdict)
        metrics.verification_time.observe(verdict, amount=time.perf_counter() - begun)


def _verify_and_record(release: Release) -> str | None:
    """Return the recorded verdict, or POSTPONED if none was recorded. Return None if another process recorded one."""
    release_id = release.pk
    row = Release.objects.filter(pk=release_id)
    writes.move(row, MOVES, Status.UPLOADED, Status.VERIFYING, status_changed_at=timezone.now())
    progress = Progress(release_id)
    try:
        verdict = _verify(release, progress)
    except (ArtifactStoreUnavailable, VerificationUnavailable, OSError) as error:
        return _postponed(release, type(error).__name__)
    except Unanswered as error:
        if not _has_waited(release):
            progress.unanswered(error.position, error.finding)
            return _postponed(release, str(error))
        hours = counted(release.pipeline.verification_hours, "hour")
        reason = f"{error}. The policy lets a release wait for {hours} after its upload (verificationHours)."
        verdict = Verdict((replace(error.finding, message=reason),), None, "")
    findings = [*(Finding.from_json(finding) for finding in release.findings), *verdict.findings]
    with transaction.atomic():
        if not row.select_for_update(no_key=True).filter(status=Status.VERIFYING).values("pk"):
            return None  # another process has recorded a verdict
        contract = None
        if not _has_errors(findings):
            contract, conflict = _write_contract(release.pipeline, release.contract_version, verdict.contract)
            findings += conflict
        errors = sorted({finding.code for finding in findings if finding.severity is Severity.ERROR})
        status = Status.REJECTED if errors else Status.REGISTERED
        writes.move(
            row,
            MOVES,
            Status.VERIFYING,
            status,
            findings=[finding.to_json() for finding in findings],
            contract=contract,
            environments={} if errors else verdict.environments,
            checkpoints=verdict.checkpoints and not errors,
            declarations={} if errors else verdict.declarations,
            primary_artifact_id=verdict.primary_artifact_id,
            status_changed_at=timezone.now(),
        )
        release.record(Act.RELEASE_REJECT if errors else Act.RELEASE_REGISTER, "coordinator", errors=errors)
    return status.value


def _postponed(release: Release, reason: str) -> str:
    log.warning("release %s cannot be verified yet: %s", release.pk, reason)
    return "POSTPONED"


def _has_waited(release: Release) -> bool:
    """Return True if the release was uploaded so long ago that it no longer waits for repositories and registries."""
    longest = timedelta(hours=release.pipeline.verification_hours)
    return Release.objects.filter(pk=release.pk, created_at__lte=Now() - longest).exists()


def _has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def _verify(release: Release, progress: Progress) -> Verdict:
    store = artifact_store()
    descriptor = descriptor_from_json(release.descriptor)
    renew = RELEASES.renewing(release.pk)
    unresolved, unanswered = resolve(release, renew, progress)
    if unanswered is not None:
        return _decided(release, Verdict(tuple(unresolved), None, ""), unanswered)
    held = set(release.artifacts.exclude(blob=None).values_list("digest", flat=True))

    def open_artifact(artifact: ArtifactRef) -> BinaryIO | None:
        renew()
        if artifact.digest not in held:
            return None
        progress.checking(descriptor, artifact)
        return store.read(artifact.digest, renew)

    document = None if release.contract_document is None else bytes(release.contract_document)
    identity_only = release.pipeline.missing_artifacts == MissingArtifacts.IDENTITY_ONLY
    verdict = verification_pool.verify(
        descriptor,
        open_artifact,
        document,
        identity_only=identity_only,
        while_waiting=renew,
        checked=progress.checked,
    )
    _require_read(verdict, descriptor, held)
    verdict = verdict.with_findings(unresolved)
    if not settings.IMAGE_REGISTRY_CHECK:
        return verdict
    absent, unanswered = image_registry.findings(descriptor)
    return _decided(release, verdict.with_findings(absent), unanswered)


def _decided(release: Release, verdict: Verdict, unanswered: Unanswered | None) -> Verdict:
    """Return the verdict. Raises `Unanswered` only if the answer can change it: an error is certain without it."""
    if unanswered is None:
        return verdict
    if verdict.accepted and not _has_errors([Finding.from_json(finding) for finding in release.findings]):
        raise unanswered
    return verdict.with_findings([replace(unanswered.finding, severity=Severity.WARNING)])


def _require_read(verdict: Verdict, descriptor: Descriptor, held: set[str]) -> None:
    """Raise `ArtifactStoreUnavailable` if stored bytes look missing or wrong, and a second look does not confirm it."""
    fields = {finding.field for finding in verdict.findings if finding.code in BYTES_ARE_WRONG}
    for position, artifact in enumerate(descriptor.artifacts):
        looks_wrong = fields & {artifact_field(position), artifact_field(position, "digest")}
        if looks_wrong and artifact.digest in held and blobs.judge(artifact.digest) in (None, Blob.State.SOUND):
            raise ArtifactStoreUnavailable(f"The bytes of {artifact.digest} were not read correctly.")


def _write_contract(
    pipeline: Pipeline, version: str, document: dict[str, Any] | None
) -> tuple[Contract | None, list[Finding]]:
    """Return the row of the contract, which its first release creates. A different document is a finding."""
    if document is None:
        return None, []
    contract, _ = Contract.objects.get_or_create(
        pipeline=pipeline, contract_version=version, defaults={"document": document}
    )
    if json_writer.equal(contract.document, document):
        return contract, []
    message = f"Contract version {version} is already registered with a different document"
    return None, [Finding("CONTRACT_CONFLICT", DESCRIPTOR_NAME + "#contractVersion", message)]


def resolve(release: Release, renew: Callable[[], None], progress: Progress) -> tuple[list[Finding], Unanswered | None]:
    """Store the missing bytes of artifacts with a `maven:` URI, and return a finding for each that cannot be had.

    The first artifact without a verdict ends the search, because further ones may have the same slow repository. It is
    returned, too. The release is VERIFYING. `renew` is called regularly while bytes arrive. Raises
    `ArtifactStoreUnavailable`, after which a retry may succeed.
    """
    wanted = list(_missing(release))
    if len(wanted) > settings.MAX_RELEASE_ARTIFACTS:
        message = f"{NAMES_PROFILE}at most {settings.MAX_RELEASE_ARTIFACTS} artifacts of a release are downloaded"
        return [Finding("MAVEN_TOO_MANY_ARTIFACTS", DESCRIPTOR_NAME, message)], None
    refusals, open_digests, unanswered = [], set[str](), None
    for place, (missing, location) in enumerate(wanted):
        progress.fetching(missing.position)
        try:
            _download(release, missing, location, renew)
        except RepositoryUnavailable as error:
            message = f"{NAMES_PROFILE}artifact {shown(missing.artifact_id)}: {error}"
            unanswered = Unanswered("MAVEN_REPOSITORY_UNAVAILABLE", missing.position, message)
            open_digests = {other.digest for other, _ in wanted[place:]}
            break
        except ArtifactRefused as refusal:
            refusals.append((missing, _refusal_finding(release, missing, refusal)))
            progress.refused(missing.position, refusals[-1][1])
    # The location of another artifact may have the same bytes.
    stored = set(release.artifacts.exclude(blob=None).values_list("digest", flat=True))
    return [finding for missing, finding in refusals if missing.digest not in stored | open_digests], unanswered


def _missing(release: Release) -> Iterator[tuple[Artifact, MavenUri]]:
    """Yield the artifacts without bytes that a Maven repository may have."""
    artifacts = descriptor_from_json(release.descriptor).artifacts
    for missing in release.artifacts.filter(blob=None):
        artifact = artifacts[missing.position]
        if isinstance(artifact, LocatedArtifactRef) and isinstance(artifact.location, MavenUri):
            yield missing, artifact.location


def _download(release: Release, missing: Artifact, location: MavenUri, renew: Callable[[], None]) -> None:
    if not Artifact.objects.filter(pk=missing.pk, blob=None).exists():
        return  # an earlier artifact of the release has the same bytes
    staged = maven.fetch(location, missing.digest, release.pipeline.tenant.slug, renew=renew)
    try:
        tenant_bytes.add(release, staged, resolved=True)
    finally:
        staged.discard()


def _refusal_finding(release: Release, missing: Artifact, refusal: ArtifactRefused) -> Finding:
    """Return a warning if the pipeline accepts releases without bytes. Other bytes are always an error."""
    lenient = release.pipeline.missing_artifacts == MissingArtifacts.IDENTITY_ONLY
    severity = Severity.WARNING if lenient and refusal.code != OTHER_DIGEST else Severity.ERROR
    return Finding(refusal.code, artifact_field(missing.position, "uri"), NAMES_PROFILE + str(refusal), severity)
