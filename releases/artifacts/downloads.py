"""Finds and reads the stored bytes of an artifact for a client that may have them."""

import hashlib
import logging
import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import PurePosixPath
from urllib.parse import unquote

from django.db.models import Q

from releases.artifacts import soundness
from releases.artifacts.store import artifact_store
from releases.artifacts.store.base import PART_CHUNK
from releases.errors import ArtifactMissing, ArtifactNotStored, ArtifactStoreUnavailable, ArtifactUnknown
from releases.models import Artifact, Blob
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.artifact_uri import ArtifactUriError, MavenUri, parse_artifact_uri
from wire.documents.descriptor import ArtifactKind

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
    found = newest.filter(~removed, blob=digest).first()
    if found is not None:
        return found
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
    soundness.require_sound_verdict(blob)
    soundness.require_present(blob)


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
        raise ArtifactMissing(f"The bytes of {blob.digest} are not in the artifact store.", digest=blob.digest)
    return _checked(chain([first], chunks), blob, len(wanted))


def _small(parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
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
