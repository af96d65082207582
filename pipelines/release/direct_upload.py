"""Uploads a large artifact directly to the coordinator's S3 store, in parts.

The coordinator lists the missing parts and the URL of each. So an interrupted upload resumes with the missing parts,
even in another process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator_client.api import Request
from coordinator_client.errors import Refused, Unreachable
from coordinator_client.http import opened
from pipelines.errors import DefinitionError

DIRECT_BYTES: Final = 32 * 1024 * 1024
"""Files of at least this size are uploaded directly to the store, if the coordinator offers that."""
_CHUNK: Final = 256 * 1024
_MOST_FAILURES: Final = 6
_POLL_SECONDS: Final = 0.5

Call = Callable[[Request], dict[str, Any]]
"""Calls the coordinator, as ``Client.call`` does."""
Progress = Callable[[int, int], None]
"""Receives the number of bytes sent so far, and the total number."""


def send(path: Path, digest: str, call: Call, progress: Progress, *, verdict_timeout: float) -> bool:
    """Upload the file and wait until it is verified. Return False if the coordinator offers no direct uploads.

    ``verdict_timeout`` limits the wait for the verification, in seconds. Raises ``ClientError``, and
    ``DefinitionError``: UPLOAD_REJECTED, STORE_UNREACHABLE, VERDICT_OVERDUE.
    """
    try:
        upload = call(Request("POST", "artifact-uploads", body={"digest": digest, "size": path.stat().st_size}))
    except Refused as error:
        if error.code in {"DIRECT_UPLOADS_UNAVAILABLE", "NOT_FOUND"}:
            return False
        raise
    _Sending(path, f"artifact-uploads/{upload['uploadId']}", call, progress).run(upload, verdict_timeout)
    return True


@dataclass(slots=True)
class _Sending:
    path: Path
    address: str
    call: Call
    progress: Progress
    failures: int = 0

    def run(self, upload: dict[str, Any], verdict_timeout: float) -> None:
        while upload["status"] == "OPEN":
            if upload["missing"]:
                self._send(upload)
                upload = self.call(Request("GET", self.address))
            else:
                upload = self.call(Request("POST", f"{self.address}/complete"))
        deadline = time.monotonic() + verdict_timeout
        while upload["status"] == "VERIFYING":
            if time.monotonic() > deadline:
                message = f"{self.path.name} is still being verified; publish again later"
                raise DefinitionError("VERDICT_OVERDUE", message)
            time.sleep(_POLL_SECONDS)
            upload = self.call(Request("GET", self.address))
        if upload["status"] != "STORED":
            why = (upload["finding"] or {}).get("message", "start again")
            raise DefinitionError("UPLOAD_REJECTED", f"{self.path.name} is {upload['status']}: {why}")
        self.progress(upload["size"], upload["size"])

    def _send(self, upload: dict[str, Any]) -> None:
        """Send the missing parts. Stop at the first failure, after which the coordinator is asked again."""
        sent_bytes = upload["received"]
        for part in upload["missing"]:
            if not self._put(part, sent_bytes, upload["size"]):
                return
            self.failures = 0
            sent_bytes += part["size"]

    def _put(self, part: dict[str, Any], sent_bytes: int, total: int) -> bool:
        body = _Slice(self.path, part["offset"], part["size"], lambda sent: self.progress(sent_bytes + sent, total))
        try:
            with opened("PUT", part["url"], headers={}, body=body) as response:  # the URL alone authorises the request
                if response.status == 200:  # a redirect is not followed, so nothing is stored
                    return True
                reason = f"it returned {response.status}"
        except Unreachable as error:
            reason = str(error)
        self.failures += 1
        if self.failures >= _MOST_FAILURES:
            raise DefinitionError(
                "STORE_UNREACHABLE",
                f"the artifact store accepts no part of {self.path.name}: {reason}; publish again to resume",
            )
        time.sleep(min(0.25 * 2**self.failures, 10))
        return False


class _Slice:
    """A range of a file as the body of a request, in constant memory."""

    def __init__(self, path: Path, offset: int, size: int, sent: Callable[[int], None]) -> None:
        self._path, self._offset, self._size, self._sent = path, offset, size, sent

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        remaining = self._size
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while remaining and (chunk := file.read(min(_CHUNK, remaining))):
                yield chunk
                remaining -= len(chunk)
                self._sent(self._size - remaining)
