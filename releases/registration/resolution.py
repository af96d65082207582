"""Finds the bytes of a release's artifacts that were not uploaded, in Maven repositories."""

from collections.abc import Callable, Iterator

from django.conf import settings

from releases.models import Artifact, MissingArtifacts, Release
from releases.registration import missing_bytes
from releases.registration.progress import Progress
from releases.repositories import maven
from releases.repositories.errors import OTHER_DIGEST, ArtifactRefused, RepositoryUnavailable, Unanswered
from wire.documents.artifact_uri import MavenUri
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    NAMES_PROFILE,
    LocatedArtifactRef,
    artifact_field,
    descriptor_from_json,
)
from wire.documents.json_reader import shown
from wire.findings import Finding, Severity


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
            _store(release, missing, location, renew)
        except RepositoryUnavailable as error:
            message = f"{NAMES_PROFILE}artifact {shown(missing.artifact_id)}: {error}"
            unanswered = Unanswered("MAVEN_REPOSITORY_UNAVAILABLE", missing.position, message)
            open_digests = {other.digest for other, _ in wanted[place:]}
            break
        except ArtifactRefused as refusal:
            refusals.append((missing, _finding(release, missing, refusal)))
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


def _store(release: Release, missing: Artifact, location: MavenUri, renew: Callable[[], None]) -> None:
    if not Artifact.objects.filter(pk=missing.pk, blob=None).exists():
        return  # an earlier artifact of the release has the same bytes
    staged = maven.fetch(location, missing.digest, release.pipeline.tenant.slug, renew=renew)
    try:
        missing_bytes.add(release, staged, resolved=True)
    finally:
        staged.discard()


def _finding(release: Release, missing: Artifact, refusal: ArtifactRefused) -> Finding:
    field = artifact_field(missing.position, "uri")
    return Finding(refusal.code, field, NAMES_PROFILE + str(refusal), _severity(release, refusal))


def _severity(release: Release, refusal: ArtifactRefused) -> Severity:
    """Return WARNING if the pipeline accepts releases without bytes. Other bytes are always an error."""
    lenient = release.pipeline.missing_artifacts == MissingArtifacts.IDENTITY_ONLY
    return Severity.WARNING if lenient and refusal.code != OTHER_DIGEST else Severity.ERROR
