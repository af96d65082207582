"""Publishes a release: uploads it, waits for its verification, and activates it on request."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from pipelines.errors import DefinitionError
from pipelines.release import activation
from pipelines.release.connection import CoordinatorRefused, call
from pipelines.release.connection import Target as Target
from pipelines.release.descriptor import CONTRACT_NAME, DESCRIPTOR_NAME, ENVELOPE_NAME, other_descriptor
from pipelines.release.direct_upload import DIRECT_BYTES, send
from pipelines.release.local_files import LocalFiles
from wire.documents.artifact_uri import MavenUri
from wire.documents.descriptor import ArtifactRef, Descriptor, LocatedArtifactRef, parse_descriptor
from wire.documents.json_reader import shown
from wire.findings import DocumentError

CHUNK: Final = 256 * 1024
"""In bytes."""
VERDICT_SECONDS: Final = 600.0
"""How long ``publish`` waits for the verification of one file, and of the release."""
WORKER_REQUIRED: Final = "WORKER_REQUIRED"
"""The code of an activation that the pipeline's policy refuses, because no worker may run the release."""
_PAUSE_SECONDS: Final = 0.5
_DECIDED: Final = frozenset({"REGISTERED", "REJECTED", "REVOKED", "RETIRED"})

ATTACHED: Final = (ENVELOPE_NAME, "*.intoto.json", "*.intoto.jsonl", "*.cdx.json", "bom.json", "*.spdx.json")
"""The usual names of a release's signatures, provenance and SBOM."""

Progress = Callable[[int, int], None]
"""Receives the number of bytes sent so far, and the total number."""


def publish(
    folder: Path,
    target: Target,
    *,
    progress: Progress,
    verdict_timeout: float = VERDICT_SECONDS,
    attach: Sequence[Path] = (),
    direct_bytes: int = DIRECT_BYTES,
) -> dict[str, Any]:
    """Upload the release in ``folder``, wait until it is verified, and return it as the API does.

    The files of ``attach``, and those in ``folder`` with a name in ATTACHED, are uploaded with it. Files of at least
    ``direct_bytes`` are uploaded directly to the artifact store, if the coordinator offers that. ``verdict_timeout``
    limits each wait for a verification, in seconds. If the release exists with equal metadata, it is returned.

    Raises ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, NO_ATTACHMENT, INVALID_URL, COORDINATOR_UNREACHABLE,
    COORDINATOR_REFUSED, VERDICT_OVERDUE, and those of ``direct_upload.send``.
    """
    descriptor = _descriptor(folder / DESCRIPTOR_NAME)
    files = _files(folder, descriptor)
    attachments = [("attachment", path) for path in _attached(folder, attach)]
    with target.session() as http:
        pipeline = _address(target, descriptor)
        large = {path: digest for path, digest in files.items() if path.stat().st_size >= direct_bytes}
        sent = _sent_directly(http, target, large, progress, verdict_timeout)
        artifacts = [("artifact", path) for path in files if path not in sent]
        body = _Multipart([*_documents(folder), *artifacts, *attachments], progress)
        headers = {"Content-Type": body.content_type}
        call(http, "POST", f"{pipeline}/releases", (200, 202), data=body, headers=headers)
        address = f"{pipeline}/releases/{quote(descriptor.release_version, safe='/')}"
        deadline = time.monotonic() + verdict_timeout
        while time.monotonic() < deadline:
            release = call(http, "GET", address, (200,))
            if release["status"] in _DECIDED:
                return release
            time.sleep(_PAUSE_SECONDS)
    known = "".join(f"\n  {finding['code']}: {finding['message']}" for finding in release["findings"])
    raise DefinitionError(
        "VERDICT_OVERDUE",
        f"the release is still {release['status']} after {verdict_timeout:g} s; check it later{known}",
    )


def activate(folder: Path, release: dict[str, Any], target: Target, *, reason: str) -> dict[str, Any]:
    """Activate the release that was published from ``folder``, and return the activation as the API does.

    Raises ``DefinitionError``: INVALID_URL, COORDINATOR_UNREACHABLE, WORKER_REQUIRED, COORDINATOR_REFUSED.
    """
    try:
        return activation.activate(target, str(release["pipelineId"]), str(release["releaseVersion"]), reason=reason)
    except CoordinatorRefused as error:
        if error.problem.get("code") != WORKER_REQUIRED:
            raise
        command = f"pipelines worker --release {folder / DESCRIPTOR_NAME}"
        message = f"{error.problem.get('detail')}\n  The release is registered, but not active. Publish it again when a"
        raise DefinitionError(WORKER_REQUIRED, f"{message} worker runs: {command}") from error


def _descriptor(path: Path) -> Descriptor:
    try:
        return parse_descriptor(path.read_bytes())
    except (OSError, DocumentError) as error:
        raise DefinitionError("INVALID_RELEASE", f"{path} is not a release descriptor: {error}") from error


def _documents(folder: Path) -> list[tuple[str, Path]]:
    contract = folder / CONTRACT_NAME
    return [("descriptor", folder / DESCRIPTOR_NAME), *([("contract", contract)] if contract.is_file() else [])]


def _sent_directly(
    http: requests.Session, target: Target, files: dict[Path, str], progress: Progress, verdict_timeout: float
) -> set[Path]:
    """Upload files directly to the artifact store. Return those that need not be sent with the release."""

    def below(method: str, path: str, expected: tuple[int, ...], **more: Any) -> dict[str, Any]:
        return call(http, method, f"{target.base}/{path}", expected, **more)

    return {
        path for path, digest in files.items() if send(path, digest, below, progress, verdict_timeout=verdict_timeout)
    }


def _files(folder: Path, descriptor: Descriptor) -> dict[Path, str]:
    """Return the files of the stored artifacts with their digests, each once.

    Artifacts that the coordinator can get from a Maven repository may have no file here. Raises ``DefinitionError``:
    NO_ARTIFACT, INVALID_RELEASE if a file has another digest.
    """
    local = LocalFiles(folder)
    found: dict[str, Path] = {}
    for artifact in descriptor.artifacts:
        if not artifact.kind.is_stored or artifact.digest in found:
            continue
        path = local.find(artifact)
        if path is None and _is_in_a_repository(artifact):
            continue
        try:
            if path is None:
                raise FileNotFoundError
            digest = local.digest(path)
        except OSError as error:
            message = f"the artifact {path or shown(artifact.uri)} cannot be read"
            raise DefinitionError("NO_ARTIFACT", message) from error
        if digest != artifact.digest:
            raise DefinitionError(
                "INVALID_RELEASE", f"{path} does not have the digest in the descriptor; release it again"
            )
        found[digest] = path
    return {path: digest for digest, path in found.items()}


def _is_in_a_repository(artifact: ArtifactRef) -> bool:
    return isinstance(artifact, LocatedArtifactRef) and isinstance(artifact.location, MavenUri)


def _attached(folder: Path, more: Sequence[Path]) -> list[Path]:
    missing = [str(path) for path in more if not path.is_file()]
    if missing:
        raise DefinitionError("NO_ATTACHMENT", f"there is no file {', '.join(missing)}")
    _check_envelope(folder)
    found = [path for pattern in ATTACHED for path in sorted(folder.glob(pattern)) if path.is_file()]
    return list({path.resolve(): path for path in [*found, *more]}.values())


def _check_envelope(folder: Path) -> None:
    """Check that the envelope signs this descriptor. Otherwise the coordinator would reject the release."""
    path = folder / ENVELOPE_NAME
    if not path.is_file():
        return
    try:
        problem = other_descriptor(path.read_bytes(), (folder / DESCRIPTOR_NAME).read_bytes())
    except OSError:
        problem = "cannot be read"
    if problem:
        raise DefinitionError("INVALID_RELEASE", f"{path} {problem}; sign the release again")


def _address(target: Target, descriptor: Descriptor) -> str:
    return f"{target.base}/pipelines/{quote(descriptor.pipeline_id, safe='')}"


class _Multipart:
    """A multipart body. It is read from disk while it is sent, in constant memory."""

    def __init__(self, parts: list[tuple[str, Path]], progress: Progress) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._progress = progress
        self._parts = [(self._head(boundary, name, path), path) for name, path in parts]
        self._end = f"--{boundary}--\r\n".encode()
        sizes = [len(head) + path.stat().st_size + 2 for head, path in self._parts]
        self._length = sum(sizes) + len(self._end)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._chunks():
            yield chunk
            sent += len(chunk)
            self._progress(sent, self._length)

    def _chunks(self) -> Iterator[bytes]:
        for head, path in self._parts:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._end

    @staticmethod
    def _head(boundary: str, name: str, path: Path) -> bytes:
        file_name = json.dumps(path.name, ensure_ascii=False)
        disposition = f"Content-Disposition: form-data; name={json.dumps(name)}; filename={file_name}"
        return f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
