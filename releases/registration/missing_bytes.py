"""Adds bytes to a stored release: uploaded or downloaded ones that it misses, and right ones for damaged ones.

Knowledge of a digest gives no right to its bytes: the tenant has sent them, or may download them.
"""

from collections.abc import Collection, Mapping

from django.db.models import F, QuerySet

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import StagedBlob
from releases.models import Artifact, ArtifactUpload, Blob, Release
from releases.states import PENDING, UploadStatus
from tenancy.models import Tenant
from wire.documents.descriptor import ArtifactKind

STORED_KINDS = [kind for kind in ArtifactKind if kind.is_stored]


def owned(tenant: Tenant, among: Collection[str]) -> set[str]:
    """Return the digests whose bytes the tenant has sent before, and which are stored."""
    registered = Artifact.objects.filter(release__pipeline__tenant=tenant, blob__in=among).exclude(
        blob__state=Blob.State.REMOVED
    )
    uploads = ArtifactUpload.objects.filter(tenant=tenant, status=UploadStatus.STORED, digest__in=among)
    sound = Blob.objects.filter(state=Blob.State.SOUND, digest__in=uploads.values("digest"))
    return set(registered.values_list("blob", flat=True)) | set(sound.values_list("digest", flat=True))


def digests(release: Release) -> set[str]:
    """Return the digests of the bytes that the release misses."""
    return set(release.artifacts.filter(blob=None, kind__in=STORED_KINDS).values_list("digest", flat=True))


def add(release: Release, staged: StagedBlob, *, resolved: bool) -> None:
    """Store the bytes, and add them to the artifacts that miss them. `resolved` means that a repository had them.

    If the release has a verdict by now, nothing is recorded.
    """
    digest = staged.digest
    with blob_lock.shared([digest]) as lease:
        fingerprint = staged.keep()
        with lease.transaction():
            if _is_pending(release):
                blobs.record_sound(digest, size=staged.size, fingerprint=fingerprint)
                _missing(release, [digest]).update(blob=digest, resolved=resolved)


def heal(release: Release, staged: Mapping[str, StagedBlob], lease_seconds: float) -> None:
    """Replace missing or damaged bytes of a stored release with the uploaded ones. Until its verdict, add missing ones.

    Waits up to `lease_seconds` for each process that removes the same bytes.
    """
    held = set(release.artifacts.filter(blob__in=staged.keys()).values_list("blob", flat=True))
    for digest in sorted(held):
        with blob_lock.shared([digest], timeout=lease_seconds) as lease:
            fingerprint = staged[digest].keep()
            with lease.transaction():
                blobs.record_sound(digest, size=staged[digest].size, fingerprint=fingerprint)
    if release.status in PENDING:
        for digest in sorted(digests(release) & staged.keys()):
            add(release, staged[digest], resolved=False)
        _add_owned(release, lease_seconds)


def _add_owned(release: Release, lease_seconds: float) -> None:
    """Add the bytes that the tenant has sent since the release was stored."""
    tenant = release.pipeline.tenant
    wanted = digests(release)
    with blob_lock.shared(wanted, timeout=lease_seconds) as lease, lease.transaction():
        if _is_pending(release):
            _missing(release, owned(tenant, wanted)).update(blob=F("digest"))


def _is_pending(release: Release) -> bool:
    """Return True if the release has no verdict. The lock keeps another transaction from recording one."""
    pending = Release.objects.select_for_update(no_key=True).filter(pk=release.pk, status__in=PENDING)
    return pending.exists()


def _missing(release: Release, digests: Collection[str]) -> QuerySet[Artifact]:
    return release.artifacts.filter(digest__in=digests, blob=None, kind__in=STORED_KINDS)
