"""What the artifact stores of many hosts have in common: blobs as objects of a storage server."""

import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured

from releases.artifacts.store import CHUNK, ArtifactStore, BlobStat, disk, hexadecimal, misread, staging_folder
from releases.errors import ArtifactStoreUnavailable

PART_BYTES = 2 * CHUNK
"""A part of an object is fetched in ranges of this size, in bytes, so that no connection waits for a slow reader."""


@dataclass(frozen=True, slots=True)
class _Ignoring(AbstractContextManager[None, bool]):
    code_of: Callable[[BaseException], str]
    codes: tuple[str, ...]

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        return error is not None and self.code_of(error) in self.codes


class ObjectArtifactStore(ArtifactStore):
    """Blobs at `<location>/sha256/<hex>`, each created by a request that fails if the object exists.

    Uploads are received in `staging`, a folder of this machine, because the digest is not known before their end. Reads
    go through a nameless file there. A subclass inherits from a backend of django-storages, which understands the
    options, connects and authenticates, and adds the requests that content addressing needs.
    """

    is_remote = True
    write_marks = (1,)  # the ETag or the generation
    client: Any
    """The client of this process, of the library that connects to the server. Threads share it."""
    errors: tuple[type[Exception], ...]
    """What the client raises if the server refuses a request, or does not answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not self.staging:
            raise ImproperlyConfigured(f"{type(self).__name__} needs the option staging.")
        self.staging = Path(self.staging)
        _stores.add(self)

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options with their defaults. `timeout_seconds` limits how long the server may be silent."""
        defaults: dict[str, Any] = super().get_default_settings()  # type: ignore[misc]
        return defaults | {"staging": None, "timeout_seconds": 20.0}

    def key(self, digest: str) -> str:
        return self.name_of("sha256", hexadecimal(digest))

    def name_of(self, *segments: str) -> str:
        name: str = self._normalize_name("/".join(segments))  # type: ignore[attr-defined]
        return name

    def read(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        key = self.key(digest)
        with self.requests():
            response = self._get(key)
            if response is None:
                return None
            with disk():
                file = cast("BinaryIO", tempfile.TemporaryFile(dir=staging_folder(self.staging)))  # noqa: SIM115 - the caller's
            try:
                for chunk in response[1]:
                    with disk():
                        file.write(chunk)
                    while_reading()
                if file.tell() != response[0].size:
                    raise misread(digest)
                with disk():
                    file.seek(0)
            except BaseException:
                file.close()
                raise
            return file

    def part(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        key = self.key(digest)
        for first in range(start, stop, PART_BYTES):
            with self.requests():
                chunk = self._get_range(key, first, min(first + PART_BYTES, stop))
            if not chunk:
                return
            yield chunk

    def quarantine(self, digest: str) -> str | None:
        key, target = self.key(digest), self.quarantine_name(digest)
        with self.requests():
            if not self._copy(key, target):
                return None
        stat, matches = self._compare(target, digest)
        with self.requests():
            self._delete(target if matches or stat is None else key)
        if matches or stat is None:
            raise misread(digest)
        return target

    def restore(self, digest: str) -> BlobStat | None:
        with self.requests():
            names = [name for name, _, _ in self._objects(self.name_of("quarantine", hexadecimal(digest)))]
        for name in names:
            if self._compare(name, digest)[1]:
                with self.requests():
                    self._copy(name, self.key(digest))
                stat = self.verified(digest)
                if stat is None:
                    raise misread(digest)
                with self.requests():
                    self._delete(name)
                return stat
        return None

    @contextmanager
    def requests(self) -> Iterator[None]:
        try:
            yield
        except self.errors as error:
            code = self.code_of(error)
            what = f"refused: {code}" if code else f"does not answer: {type(error).__name__}"
            raise ArtifactStoreUnavailable(f"The artifact store {what}.") from error

    def ignoring(self, *codes: str) -> AbstractContextManager[None, bool]:
        """Return a context that ends without an error if the server refuses a request with one of the codes."""
        return _Ignoring(self.code_of, codes)

    @abstractmethod
    def code_of(self, error: BaseException) -> str:
        """Return the code with which the server refused a request; empty for every other error."""

    @abstractmethod
    def disconnect(self) -> None:
        """Forget open connections, without closing them. The next request opens new ones."""

    @abstractmethod
    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes from position `start` to before `stop`; fewer if the object ends there or does not exist."""

    @abstractmethod
    def _copy(self, key: str, target: str) -> bool:
        """Copy an object on the server. Return False if it does not exist."""


_stores: WeakSet[ObjectArtifactStore] = WeakSet()


def _disconnect_all() -> None:
    for store in _stores:
        store.disconnect()


# Two processes must not share a connection.
os.register_at_fork(after_in_child=_disconnect_all)
