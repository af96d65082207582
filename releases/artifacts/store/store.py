"""What every artifact store can do (wire protocol A.4): bytes at their own digest, created once, checked when read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from releases.artifacts.store.staging import StagedBlob

if TYPE_CHECKING:
    from releases.artifacts.store.direct import DirectUploads

CHUNK = 1024 * 1024
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Stored:
    """One blob as a store lists it; nobody has looked at its bytes."""

    digest: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store tells of a blob without reading it.

    While `fingerprint` (size, times, place or tag) is unchanged, the bytes are those that were last hashed.
    """

    size: int
    fingerprint: str


class ArtifactStore(Protocol):
    """Blobs by digest. Every method may raise `ArtifactStoreUnavailable`, which says nothing about any blob.

    Nothing here knows the database. Whoever removes or replaces bytes holds the digest's lock
    (`releases.artifacts.blob_lock`), since a store cannot know who is about to refer to them.
    """

    is_remote: bool
    """Whether a look at a blob is a call over the network."""
    staging: Path
    """The folder of this machine in which uploads grow."""

    direct: "DirectUploads | None"
    """How artifacts are sent straight to the store; None where that cannot be."""

    def set_up(self) -> None:
        """Create an empty store at the configured place. Does nothing to an existing store."""

    def stage(self, limit: int) -> StagedBlob:
        """Begin to take bytes in, at most `limit` of them."""

    def keep(self, staged: StagedBlob) -> str:
        """Make staged bytes durable at their digest, once, and return their fingerprint.

        A sound blob that is already there is verified and left alone; a damaged one is replaced.
        """

    def open(self, digest: str, while_reading: Callable[[], object] = ...) -> BinaryIO | None:
        """The bytes as a seekable file, None where there are none. They are unverified: whoever reads them hashes
        them. A remote store calls `while_reading` for each chunk that it fetches.
        """

    def key(self, digest: str) -> str:
        """The name that the bytes have in the store."""

    def address(self, digest: str) -> str:
        """Where the bytes are, as a URI; for people and other programs to be told, never to be opened by."""

    def look(self, digest: str) -> Seen | None:
        """What tells cheaply whether the bytes may have changed since they were hashed; None where there are none."""

    def verified(self, digest: str, while_reading: Callable[[], object] = ...) -> Seen | None:
        """Read and hash all bytes: what was seen where they are what the digest says; None where they are not, or
        are not there. Calls `while_reading` for each chunk.
        """

    def list(self) -> Iterator[Stored]:
        """Every blob, in the order of digests."""

    def remove(self, digest: str) -> None:
        """Remove the bytes; nothing happens where there are none."""

    def quarantine(self, digest: str) -> str | None:
        """Move the bytes out of their place and return where they are now; None where there were none."""


def hexadecimal(digest: str) -> str:
    """The hex digits of a `sha256:` digest. Raises ValueError for anything else, before it can name a place."""
    digits = digest.removeprefix("sha256:")
    if len(digits) != 64 or not set(digits) <= _HEX or digits == digest:
        raise ValueError("not a sha256 digest")
    return digits
