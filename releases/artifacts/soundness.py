"""Checks that the store has the bytes that a release pins, and that they match their digests.

Scrubbing, uploads and activations record the verdict on each blob in its row (`blobs`). A submission reads the verdicts
of its release in one query and reads no bytes. An activation also reads the bytes that may have changed, and so does a
submission over `/tpf` if they were written again. A download is checked while it is sent.
"""

import hashlib
import logging
import re
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain
from pathlib import PurePosixPath
from urllib.parse import unquote

from django.db.models import Q

from foundation import wakeup
from foundation.database.compiled import Compiled
from foundation.errors import CoordinatorError
from foundation.timed_cache import TimedCache
from releases.artifacts import blobs
from releases.artifacts.store import PART_CHUNK, ArtifactStore, BlobStat, artifact_store
from releases.errors import (
    ArtifactAltered,
    ArtifactMissing,
    ArtifactNotStored,
    ArtifactStoreUnavailable,
    ArtifactUnknown,
    ArtifactUnverified,
)
from releases.models import Artifact, Blob, Release
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.artifact_uri import ArtifactUriError, MavenUri, parse_artifact_uri
from wire.documents.descriptor import ArtifactKind

CHECK_TASK = "releases.check_blob"
cache: TimedCache[str, BlobStat | None] = TimedCache(seconds=30.0, most=10_000)
"""What a remote store has for a digest. The verdict on the bytes is never cached."""
failures: TimedCache[type[ArtifactStore], str] = TimedCache(seconds=10.0, renew_after=0.5)
"""Why a remote store was unavailable. One caller tries again after half of this time."""
STAT_SECONDS = 2.0
"""How long a request waits for what a remote store has for a digest."""
VERDICT_SECONDS = 3.0
"""How long a request tries to judge bytes that another process judges, writes or removes."""
_TURN_SECONDS = 0.05


def require_sound(release: Release) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` if an artifact of `release` is missing or damaged.

    Asks for the last verdict, and then as `require_present` does, but ignores a store that does not respond within
    STAT_SECONDS, because executions do not need it.
    """
    for blob in _blobs(release):
        _require_sound(blob.digest, blob.state)
        try:
            require_present(blob)
        except ArtifactStoreUnavailable:
            continue


def require_present(blob: Blob) -> None:
    """Raise an error if the store has no bytes for `blob`, or bytes of another size. Does not read them.

    If their fingerprint has changed since they were hashed, CHECK_TASK is sent. If they were certainly written again,
    `ArtifactUnverified` is raised until they are hashed. Also raises `ArtifactMissing`, `ArtifactAltered` and
    `ArtifactStoreUnavailable`.
    """
    store = artifact_store()
    stat = _stat_of(store, blob)
    if stat is None or stat.size != blob.size:
        wakeup.send(CHECK_TASK, blob.digest)
        raise _altered(blob.digest) if stat else _missing(blob.digest)
    if stat.fingerprint != blob.fingerprint:
        wakeup.send(CHECK_TASK, blob.digest)
        if store.is_rewritten(blob.fingerprint, stat.fingerprint):
            raise ArtifactUnverified(
                f"The bytes of {blob.digest} were written again since they were hashed. Try again."
            )


def require_verified(release: Release) -> None:
    """Like `require_sound`, but hash bytes again that may have changed since they were hashed, and record the verdict.

    Also raises `ArtifactStoreUnavailable` if the store does not respond.
    """
    store = artifact_store()
    for blob in _blobs(release):
        stat = _look(store, blob.digest)
        if stat is not None and blob.state == Blob.State.SOUND and stat.fingerprint == blob.fingerprint:
            continue
        deadline = time.monotonic() + VERDICT_SECONDS
        # Requests that judge the same bytes at once do so one after the other.
        while (state := blobs.judge(blob.digest)) is None and time.monotonic() < deadline:
            time.sleep(_TURN_SECONDS)
        if state is None:
            raise ArtifactStoreUnavailable(f"The bytes of {blob.digest} are being written or removed. Try again.")
        _require_sound(blob.digest, state)


def _blobs(release: Release) -> Iterator[Blob]:
    for artifact in _ARTIFACTS.rows(release=release.pk):
        if artifact.blob is not None:
            yield artifact.blob


_ARTIFACTS = Compiled(
    lambda release: Artifact.objects.filter(release=release).select_related("blob").order_by("position"), release=-1
)


def _require_sound(digest: str, state: str) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` unless the verdict is SOUND."""
    if state != Blob.State.SOUND:
        raise _altered(digest) if state == Blob.State.DAMAGED else _missing(digest)


def _stat_of(store: ArtifactStore, blob: Blob) -> BlobStat | None:
    """Return what the store has for `blob`. For a remote store, use the cached result if it is the expected one.

    Failures of a remote store are cached too.
    """
    if not store.is_remote:
        return store.stat(blob.digest)
    stat = cache.get(blob.digest)
    if stat is None or stat.size != blob.size or store.is_rewritten(blob.fingerprint, stat.fingerprint):
        failure = failures.get_or_renew(type(store))
        if failure is not None:
            raise ArtifactStoreUnavailable(failure)
        since = time.monotonic()
        try:
            stat = _look(store, blob.digest)
        except ArtifactStoreUnavailable as error:
            failures.set(type(store), error.detail)
            raise
        failures.discard(type(store))
        cache.set(blob.digest, stat, since=since)
    return stat


def _look(store: ArtifactStore, digest: str) -> BlobStat | None:
    """Return what the store has for a digest. Raises `ArtifactStoreUnavailable`, for a remote store in STAT_SECONDS.

    A thread waits for a silent server until the store's own time is over.
    """
    if not store.is_remote:
        return store.stat(digest)
    pending: Future[BlobStat | None] = Future()

    def look() -> None:
        try:
            pending.set_result(store.stat(digest))
        except Exception as error:
            pending.set_exception(error)

    threading.Thread(name="artifact-stat", target=look, daemon=True).start()
    try:
        return pending.result(STAT_SECONDS)
    except TimeoutError:
        raise ArtifactStoreUnavailable(f"The artifact store does not answer within {STAT_SECONDS} seconds.") from None


def _missing(digest: str) -> CoordinatorError:
    return ArtifactMissing(f"The bytes of {digest} are not in the artifact store.", digest=digest)


def _altered(digest: str) -> CoordinatorError:
    return ArtifactAltered(f"The bytes stored for {digest} have a different digest.", digest=digest)


log = logging.getLogger(__name__)
MAX_NAME = 100
_UNSAFE = re.compile(r"[^\w.+-]|\A[.-]")


def find(tenant: Tenant, digest: str) -> Artifact:
    """Return the artifact with this digest of the tenant's newest release that pins it, with its blob.

    Rejected releases do not count. Raises `ArtifactUnknown`, also if only releases of other tenants pin the artifact,
    and `ArtifactNotStored` for an image or endpoint, for an artifact that a registered release only identifies, and for
    one of a retired release that was removed.
    """
    pinned = Artifact.objects.filter(release__pipeline__tenant=tenant).exclude(release__status=Status.REJECTED)
    newest = pinned.select_related("blob", "release__pipeline__tenant").order_by("-release", "position")
    removed = Q(release__status=Status.RETIRED, blob__state=Blob.State.REMOVED)
    artifact = newest.filter(~removed, blob=digest).first()
    if artifact is not None:
        return artifact
    stored = [kind.value for kind in ArtifactKind if kind.is_stored]
    elsewhere = ~Q(kind__in=stored) | Q(release__status__in=[Status.REGISTERED, Status.REVOKED, Status.RETIRED])
    if pinned.filter(elsewhere, digest=digest).exists():
        raise ArtifactNotStored(f"The bytes of {digest} are where its address says, not in the artifact store.")
    raise ArtifactUnknown(f"There is no artifact {digest!r}.")


def file_name(artifact: Artifact) -> str:
    """Return a name for a file with the artifact's bytes. It has no folder, even if the artifact's URI is a path.

    A file of a `maven:` URI has the name that it has in a repository.
    """
    path = artifact.uri
    with suppress(ArtifactUriError):
        location = parse_artifact_uri(artifact.uri)
        path = location.path if isinstance(location, MavenUri) else path
    name = PurePosixPath(unquote(path).replace("\\", "/")).name
    return _UNSAFE.sub("_", name[-MAX_NAME:]) or "artifact"


def require_readable(blob: Blob) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` if the bytes are known to be missing or damaged.

    Does not read the bytes. Also raises `ArtifactStoreUnavailable`.
    """
    _require_sound(blob.digest, blob.state)
    require_present(blob)


def read(blob: Blob, wanted: range) -> Generator[bytes]:
    """Return chunks with the bytes at the positions `wanted`, or raise an error before the first of them.

    Uses constant memory and no database. The iterator raises `ArtifactStoreUnavailable` if it cannot yield exactly
    these bytes. If all bytes are wanted, they are hashed, and the last chunk is withheld unless their digest is right.
    The caller closes the iterator.

    Raises what `require_readable` raises.
    """
    require_readable(blob)
    chunks = _small(artifact_store().part(blob.digest, wanted.start, wanted.stop))
    first = next(chunks, b"")
    if wanted and not first:
        raise _missing(blob.digest)
    return _checked(chain([first], chunks), blob, len(wanted))


def _small(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for part in chunks:
        yield from (part[start : start + PART_CHUNK] for start in range(0, len(part), PART_CHUNK))


def _checked(chunks: Iterator[bytes], blob: Blob, length: int) -> Generator[bytes]:
    """Yield `length` bytes, each chunk when the next one is known."""
    hashed, left, held = hashlib.sha256(), length, b""
    for chunk in chunks:
        if held:
            yield held
        hashed.update(chunk)
        left -= len(chunk)
        held = chunk
    digest = f"sha256:{hashed.hexdigest()}"
    if left or (length == blob.size and digest != blob.digest):
        log.error("a download of %s was aborted: read %s of %s bytes, digest %s", blob, length - left, length, digest)
        raise ArtifactStoreUnavailable(f"The artifact store does not have the bytes of {blob.digest}.")
    yield held
