"""Publishes a release: uploads it, waits for its verification, and activates it on request."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from coordinator_client import api
from coordinator_client.api import Client
from coordinator_client.errors import Refused
from pipelines.errors import DefinitionError
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
    client: Client,
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

    Raises ``ClientError``, and ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, NO_ATTACHMENT, VERDICT_OVERDUE, and
    those of ``direct_upload.send``.
    """
    descriptor = descriptor_in(folder)
    files = _files(folder, descriptor)
    attachments = [("attachment", each) for each in _attached(folder, attach)]
    releases = api.path("pipelines", descriptor.pipeline_id, "releases")
    sent = {
        each
        for each, digest in files.items()
        if each.stat().st_size >= direct_bytes
        and send(each, digest, client.call, progress, verdict_timeout=verdict_timeout)
    }
    artifacts = [("artifact", each) for each in files if each not in sent]
    body = _Multipart([*_documents(folder), *artifacts, *attachments], progress)
    client.upload(releases, body, body.content_type)
    address = f"{releases}/{api.path(descriptor.release_version)}"
    deadline = time.monotonic() + verdict_timeout
    while time.monotonic() < deadline:
        release = client.get(address)
        if release["status"] in _DECIDED:
            return release
        time.sleep(_PAUSE_SECONDS)
    known = "".join(f"\n  {finding['code']}: {finding['message']}" for finding in release["findings"])
    raise DefinitionError(
        "VERDICT_OVERDUE",
        f"the release is still {release['status']} after {verdict_timeout:g} s; check it later{known}",
    )


def activate(
    client: Client, pipeline_id: str, release_version: str, reason: str, expected: str | None = None
) -> dict[str, Any]:
    """Activate a registered release and return the activation as the API does.

    With ``expected``, the call fails unless that release is active, or none if it is "". Raises ``ClientError``.
    """
    body = {
        "releaseVersion": release_version,
        "reason": reason,
        "expectedReleaseVersion": expected,
        "operationKey": api.operation_key(),
    }
    return client.call(api.Request("POST", api.path("pipelines", pipeline_id, "activations"), body=body))


def activate_published(folder: Path, release: dict[str, Any], client: Client, *, reason: str) -> dict[str, Any]:
    """Activate the release that was published from ``folder``, and return the activation as the API does.

    Raises ``ClientError``, and ``DefinitionError`` WORKER_REQUIRED.
    """
    try:
        return activate(client, str(release["pipelineId"]), str(release["releaseVersion"]), reason)
    except Refused as error:
        if error.code != WORKER_REQUIRED:
            raise
        command = f"pipelines worker --release {folder / DESCRIPTOR_NAME}"
        message = f"{error.detail}\n  The release is registered, but not active. Publish it again when a"
        raise DefinitionError(WORKER_REQUIRED, f"{message} worker runs: {command}") from error


def descriptor_in(folder: Path) -> Descriptor:
    """Return the descriptor of the release in ``folder``. Raises ``DefinitionError`` INVALID_RELEASE."""
    file = folder / DESCRIPTOR_NAME
    try:
        return parse_descriptor(file.read_bytes())
    except (OSError, DocumentError) as error:
        raise DefinitionError("INVALID_RELEASE", f"{file} is not a release descriptor: {error}") from error


def _documents(folder: Path) -> list[tuple[str, Path]]:
    contract = folder / CONTRACT_NAME
    return [("descriptor", folder / DESCRIPTOR_NAME), *([("contract", contract)] if contract.is_file() else [])]


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
