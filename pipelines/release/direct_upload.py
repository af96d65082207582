"""Sends a large artifact straight to the coordinator's S3 store, in parts that a broken connection does not undo.

The coordinator says which parts are missing and where each goes, so an upload that was broken off, even by the end of
this process, goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from pipelines.errors import DefinitionError

DIRECT_BYTES: Final = 32 * 1024 * 1024
"""Files of at least this size go straight to the store, where the coordinator offers that."""
_CHUNK: Final = 256 * 1024
_TIMEOUT: Final = (10, 120)
_MOST_FAILURES: Final = 6
_POLL_SECONDS: Final = 0.5

Ask = Callable[..., dict[str, Any]]
"""Asks the coordinator: method, path below the tenant, expected statuses, and what `requests` takes."""
Progress = Callable[[int, int], None]


def send(path: Path, digest: str, ask: Ask, progress: Progress, *, patience: float) -> bool:
    """Have the file in the store and verified. False: the coordinator takes no direct uploads.

    ``patience``, in seconds, bounds the wait for the coordinator's verdict. Raises ``DefinitionError``:
    UPLOAD_REJECTED, STORE_UNREACHABLE, VERDICT_OVERDUE, and those of ``ask``.
    """
    size = path.stat().st_size
    upload = ask("POST", "artifact-uploads", (201, 404, 409), json={"digest": digest, "size": size})
    if upload.get("code") in {"DIRECT_UPLOADS_UNAVAILABLE", "NOT_FOUND"}:
        return False
    if "uploadId" not in upload:
        raise DefinitionError("COORDINATOR_REFUSED", f"{upload.get('code', '')} {upload.get('detail', '')}".strip())
    _Sending(path, f"artifact-uploads/{upload['uploadId']}", ask, progress).run(upload, patience)
    return True


@dataclass(slots=True)
class _Sending:
    path: Path
    address: str
    ask: Ask
    progress: Progress
    failures: int = 0

    def run(self, upload: dict[str, Any], patience: float) -> None:
        while upload["status"] == "OPEN":
            if upload["missing"]:
                self._send(upload)
                upload = self.ask("GET", self.address, (200,))
            else:
                upload = self.ask("POST", f"{self.address}/complete", (202,))
        deadline = time.monotonic() + patience
        while upload["status"] == "VERIFYING":
            if time.monotonic() > deadline:
                message = f"{self.path.name} is still being verified; publish again later"
                raise DefinitionError("VERDICT_OVERDUE", message)
            time.sleep(_POLL_SECONDS)
            upload = self.ask("GET", self.address, (200,))
        if upload["status"] != "STORED":
            why = (upload["finding"] or {}).get("message", "begin it anew")
            raise DefinitionError("UPLOAD_REJECTED", f"{self.path.name} is {upload['status']}: {why}")
        self.progress(upload["size"], upload["size"])

    def _send(self, upload: dict[str, Any]) -> None:
        """Send the parts that are missing, up to the first that fails: then the coordinator is asked anew."""
        done = upload["received"]
        with requests.Session() as http:
            # No proxy's or netrc's credentials: the address is all that the store is to judge by.
            http.trust_env = False
            for part in upload["missing"]:
                if not self._put(http, part, done, upload["size"]):
                    return
                self.failures = 0
                done += part["size"]

    def _put(self, http: requests.Session, part: dict[str, Any], done: int, total: int) -> bool:
        body = _Slice(self.path, part["offset"], part["size"], lambda sent: self.progress(done + sent, total))
        try:
            answer = http.put(part["url"], data=body, timeout=_TIMEOUT, allow_redirects=False)
            if answer.status_code == 200:  # a redirect is not followed, so it has stored nothing
                return True
            told = f"it answered {answer.status_code}"
        except requests.RequestException as error:
            told = type(error).__name__
        self.failures += 1
        if self.failures >= _MOST_FAILURES:
            raise DefinitionError(
                "STORE_UNREACHABLE",
                f"the artifact store takes no part of {self.path.name}: {told}; publish again to go on from there",
            )
        time.sleep(min(0.25 * 2**self.failures, 10))
        return False


class _Slice:
    """Some bytes of a file as a request's body, in constant memory."""

    def __init__(self, path: Path, offset: int, size: int, sent: Callable[[int], None]) -> None:
        self._path, self._offset, self._size, self._sent = path, offset, size, sent

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while left and (chunk := file.read(min(_CHUNK, left))):
                yield chunk
                left -= len(chunk)
                self._sent(self._size - left)
