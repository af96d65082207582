"""Downloads the artifact of a release from the coordinator."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from coordinator_client.api import Client, Request, refused
from coordinator_client.errors import ClientError, Refused, Unreachable
from coordinator_client.http import Response
from pipelines.errors import DefinitionError
from pipelines.release.connection import of_client
from pipelines.worker.artifact import hosted_artifact, read_descriptor

PATIENCE_SECONDS: Final = 60.0
"""How long a download is retried while no byte arrives."""
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/\d+")


@contextmanager
def fetched(descriptor_path: Path, client: Client, *, patience: float = PATIENCE_SECONDS) -> Iterator[Path]:
    """Download the artifact of ``hosted_artifact`` into a private file, which is removed at the end of the block.

    A broken download continues where it broke off. The bytes have the digest that the descriptor on this machine pins,
    so the coordinator cannot choose the code. ``client`` needs a token with the scope ``artifacts:read``. ``patience``
    limits how long failures are retried while no byte arrives, in seconds.

    Raises ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, INVALID_URL, COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED,
    ARTIFACT_MISMATCH.
    """
    digest = hosted_artifact(read_descriptor(descriptor_path), descriptor_path).digest
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        path = Path(folder) / "artifact"
        with path.open("wb") as file:
            _Download(client, digest, file).run(patience)
        _require_digest(path, digest)
        yield path


def _require_digest(path: Path, digest: str) -> None:
    with path.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != digest:
        raise DefinitionError(
            "ARTIFACT_MISMATCH", f"the coordinator sent bytes with the digest {found}, but the release pins {digest}"
        )


class _Download:
    """Writes the artifact with ``digest`` to ``file``, and continues each time the connection breaks."""

    def __init__(self, client: Client, digest: str, file: BinaryIO) -> None:
        self._client, self._digest, self._file = client, digest, file

    def run(self, patience: float) -> None:
        failures, deadline = 0, time.monotonic() + patience
        while True:
            before = self._file.tell()
            failure = self._attempt()
            if failure is None:
                return
            if self._file.tell() > before:
                failures, deadline = 0, time.monotonic() + patience
            if time.monotonic() > deadline:
                raise of_client(failure) from None
            time.sleep(min(0.25 * 2**failures, 5))
            failures += 1

    def _attempt(self) -> ClientError | None:
        """Receive as many of the missing bytes as possible. Return None when none are missing."""
        try:
            with self._client.opened(Request("GET", f"artifacts/{self._digest}"), self._headers()) as response:
                self._receive(response)
        except Unreachable as error:
            return error
        except Refused as error:
            if error.status in _TRANSIENT:
                return error
            raise of_client(error) from None
        return None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/octet-stream"}
        if start := self._file.tell():
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{self._digest}"'}
        return headers

    def _receive(self, response: Response) -> None:
        if response.status not in (200, 206) or not self._continues(response):
            raise refused(response)
        if response.status == 200:
            self._file.seek(0)
            self._file.truncate()
        for piece in response.pieces():
            self._write(piece)

    def _continues(self, response: Response) -> bool:
        """True if the body of a 206 begins where the file ends."""
        if response.status == 200:
            return True
        begin = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        return begin is not None and int(begin[1]) == self._file.tell()

    def _write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise DefinitionError("NO_ARTIFACT", f"the artifact cannot be written: {error.strerror}") from error
