"""Finds the bytes of a release's artifacts that were not uploaded, in Maven repositories."""

from collections.abc import Callable

from django.db import transaction

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import StagedBlob
from releases.models import Artifact, MissingArtifacts, Release
from releases.repositories import maven
from releases.repositories.errors import OTHER_DIGEST, ArtifactRefused
from releases.states import Status
from wire.documents.artifact_uri import MavenUri
from wire.documents.descriptor import (
    NAMES_PROFILE,
    ArtifactKind,
    LocatedArtifactRef,
    artifact_field,
    descriptor_from_json,
)
from wire.findings import Finding, Severity

_STORED = [kind for kind in ArtifactKind if kind.is_stored]


def resolve(release: Release, renew: Callable[[], None]) -> list[Finding]:
    """Store the missing bytes of artifacts with a `maven:` URI, and return a finding for each that cannot be had.

    The release is VERIFYING. `renew` is called regularly while bytes arrive. Raises `RepositoryUnavailable` and
    `ArtifactStoreUnavailable`, after which a retry may succeed.
    """
    artifacts = descriptor_from_json(release.descriptor).artifacts
    refusals = []
    for missing in release.artifacts.filter(blob=None):
        artifact = artifacts[missing.position]
        if isinstance(artifact, LocatedArtifactRef) and isinstance(artifact.location, MavenUri):
            try:
                _store(release, missing, artifact.location, renew)
            except ArtifactRefused as refusal:
                refusals.append((missing, refusal))
    # The location of another artifact may have had the same bytes.
    stored = set(release.artifacts.exclude(blob=None).values_list("digest", flat=True))
    return [_finding(release, missing, refusal) for missing, refusal in refusals if missing.digest not in stored]


def _store(release: Release, missing: Artifact, location: MavenUri, renew: Callable[[], None]) -> None:
    if not Artifact.objects.filter(pk=missing.pk, blob=None).exists():
        return  # an earlier artifact of the release has the same bytes
    staged = maven.fetch(location, missing.digest, release.pipeline.tenant.slug, renew=renew)
    try:
        _keep(release, missing.digest, staged)
    finally:
        staged.discard()


def _finding(release: Release, missing: Artifact, refusal: ArtifactRefused) -> Finding:
    field = artifact_field(missing.position, "uri")
    return Finding(refusal.code, field, NAMES_PROFILE + str(refusal), _severity(release, refusal))


def _severity(release: Release, refusal: ArtifactRefused) -> Severity:
    """Return WARNING if the pipeline accepts releases without bytes. Other bytes are always an error."""
    lenient = release.pipeline.missing_artifacts == MissingArtifacts.IDENTITY_ONLY
    return Severity.WARNING if lenient and refusal.code != OTHER_DIGEST else Severity.ERROR


def _keep(release: Release, digest: str, staged: StagedBlob) -> None:
    with blob_lock.shared([digest]):
        fingerprint = staged.keep()
        with transaction.atomic():
            verifying = Release.objects.select_for_update(no_key=True).filter(pk=release.pk, status=Status.VERIFYING)
            if verifying.exists():
                blobs.record_sound(digest, size=staged.size, fingerprint=fingerprint)
                missing = release.artifacts.filter(digest=digest, blob=None, kind__in=_STORED)
                missing.update(blob=digest, resolved=True)
