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

import requests

from pipelines.errors import DefinitionError
from pipelines.release.connection import TIMEOUT, Target, refused, unreachable
from pipelines.worker.artifact import hosted_artifact, read_descriptor

_CHUNK: Final = 16 * 1024
"""A connection that breaks loses at most this number of bytes that have arrived."""
PATIENCE_SECONDS: Final = 60.0
"""How long a download is retried while no byte arrives."""
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/\d+")


@contextmanager
def fetched(descriptor_path: Path, target: Target, *, patience: float = PATIENCE_SECONDS) -> Iterator[Path]:
    """Download the artifact of ``hosted_artifact`` into a private file, which is removed at the end of the block.

    A broken download continues where it broke off. The bytes have the digest that the descriptor on this machine pins,
    so the coordinator cannot choose the code. ``target`` needs a token with the scope ``artifacts:read``. ``patience``
    limits how long failures are retried while no byte arrives, in seconds.

    Raises ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, INVALID_URL, COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED,
    ARTIFACT_MISMATCH.
    """
    digest = hosted_artifact(read_descriptor(descriptor_path), descriptor_path).digest
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder, target.session() as http:
        path = Path(folder) / "artifact"
        with path.open("wb") as file:
            _Download(http, f"{target.base}/artifacts/{digest}", digest, file).run(patience)
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
    """Writes the bytes at ``url`` to ``file``, and continues each time the connection breaks."""

    def __init__(self, http: requests.Session, url: str, digest: str, file: BinaryIO) -> None:
        self._http, self._url, self._digest, self._file = http, url, digest, file

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
                raise failure
            time.sleep(min(0.25 * 2**failures, 5))
            failures += 1

    def _attempt(self) -> DefinitionError | None:
        """Receive as many of the missing bytes as possible. Return None when none are missing."""
        try:
            with self._http.get(
                self._url, headers=self._headers(), stream=True, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                return self._receive(response)
        except requests.RequestException as error:
            return unreachable(type(error).__name__)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
        if start := self._file.tell():
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{self._digest}"'}
        return headers

    def _receive(self, response: requests.Response) -> DefinitionError | None:
        if response.status_code in _TRANSIENT:
            return refused(response)
        if response.status_code not in (200, 206) or not self._continues(response):
            raise refused(response)
        if response.status_code == 200:
            self._file.seek(0)
            self._file.truncate()
        left = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        for chunk in response.iter_content(_CHUNK):
            self._write(chunk)
            left = None if left is None else left - len(chunk)
        return unreachable("the response ended early") if left else None

    def _continues(self, response: requests.Response) -> bool:
        """True if the body of a 206 begins where the file ends."""
        if response.status_code == 200:
            return True
        begin = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return begin is not None and int(begin[1]) == self._file.tell()

    def _write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise DefinitionError("NO_ARTIFACT", f"the artifact cannot be written: {error.strerror}") from error
