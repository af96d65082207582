"""Publishes a release: finds the coordinator, uploads the release, waits for its verification, and activates it."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator_client import api
from coordinator_client.api import Client, Connection, Request
from coordinator_client.errors import ClientError, NotAuthenticated, Refused, Unreachable
from coordinator_client.http import opened
from coordinator_client.profiles import coordinator_url, is_token, local_advice
from pipelines.errors import DefinitionError
from pipelines.release.conflict import RELEASE_CONFLICT, version_taken
from pipelines.release.descriptor import other_descriptor
from pipelines.release.files import LocalFiles, maven_location, read_descriptor
from wire.documents.contract import CONTRACT_NAME
from wire.documents.descriptor import DESCRIPTOR_NAME, ENVELOPE_NAME, Descriptor
from wire.documents.json_reader import shown

CHUNK: Final = 256 * 1024
"""In bytes."""
VERDICT_SECONDS: Final = 600.0
"""How long ``publish`` waits for the verification of one file, and of the release."""
WORKER_REQUIRED: Final = "WORKER_REQUIRED"
"""The code of an activation that the pipeline's policy refuses, because no worker may run the release."""
DIRECT_BYTES: Final = 32 * 1024 * 1024
"""Files of at least this size are uploaded directly to the store, if the coordinator offers that."""
_MOST_FAILURES: Final = 6
_FIRST_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.5
_DECIDED: Final = frozenset({"REGISTERED", "REJECTED", "REVOKED", "RETIRED"})

ATTACHED: Final = (
    ENVELOPE_NAME,
    "signature-*.dsse.json",
    "*.intoto.json",
    "*.intoto.jsonl",
    "*.cdx.json",
    "bom.json",
    "*.spdx.json",
)
"""The usual names of a release's signatures, provenance and SBOM."""

Call = Callable[[Request], dict[str, Any]]
"""Calls the coordinator, as ``Client.call`` does."""
Progress = Callable[[int, int], None]
"""Receives the number of bytes sent so far, and the total number."""


def client_of(arguments: argparse.Namespace) -> Client:
    """Return a client of the tenant and with the token of the options, or of the environment.

    Raises ``DefinitionError`` MISSING_OPTION, and ``ClientError`` if the URL is not valid.
    """
    url, tenant = (str(getattr(arguments, name) or variable(name.upper())) for name in ("url", "tenant"))
    token, problem = _token(arguments)
    named = (("--url or COORDINATOR_URL", url), ("--tenant or COORDINATOR_TENANT", tenant))
    missing = [*(name for name, value in named if not value), *([problem] if problem else [])]
    if missing:
        raise DefinitionError("MISSING_OPTION", f"set {', '.join(missing)}{local_advice()}")
    return Client(Connection(coordinator_url(url), tenant, token))


def variable(name: str) -> str:
    """Return what ``PIPELINES_…`` contains, or else ``COORDINATOR_…``.

    If PIPELINES_URL is set, only the former, so that no token is sent to a coordinator for which it is not meant.
    """
    value = os.environ.get(f"PIPELINES_{name}", "")
    return value if value or os.environ.get("PIPELINES_URL") else os.environ.get(f"COORDINATOR_{name}", "")


def _token(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the token, and what to set if there is no usable one."""
    try:
        file = arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("MISSING_OPTION", f"--token-file cannot be read: {type(error).__name__}") from error
    token: str = file or getattr(arguments, "token", None) or variable("TOKEN")
    return token, "" if is_token(token) else "--token-file FILE or COORDINATOR_TOKEN"


def of_client(error: ClientError) -> DefinitionError:
    """Return the error that says why a call of the coordinator failed.

    Its code is COORDINATOR_REFUSED, COORDINATOR_UNREACHABLE, or INVALID_URL if no request was made.
    """
    if isinstance(error, NotAuthenticated):
        return DefinitionError("COORDINATOR_REFUSED", f"{error}; check --token-file or COORDINATOR_TOKEN")
    if isinstance(error, Refused):
        return DefinitionError("COORDINATOR_REFUSED", str(error))
    return DefinitionError("COORDINATOR_UNREACHABLE" if isinstance(error, Unreachable) else "INVALID_URL", str(error))


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

    Raises ``ClientError``, and ``DefinitionError``: VERSION_TAKEN if it is registered with other code, INVALID_RELEASE,
    NO_ARTIFACT, NO_ATTACHMENT, VERDICT_OVERDUE, and those of ``upload_directly``.
    """
    descriptor = read_descriptor(folder / DESCRIPTOR_NAME)
    files = _files(folder, descriptor)
    documents = [("descriptor", folder / DESCRIPTOR_NAME)]
    if (contract := folder / CONTRACT_NAME).is_file():
        documents.append(("contract", contract))
    attachments = [("attachment", file) for file in _attached(folder, attach)]
    releases = api.path("pipelines", descriptor.pipeline_id, "releases")
    sent = {
        file
        for file, digest in files.items()
        if file.stat().st_size >= direct_bytes
        and upload_directly(file, digest, client.call, progress, verdict_timeout=verdict_timeout)
    }
    artifacts = [("artifact", file) for file in files if file not in sent]
    body, content_type = multipart([*documents, *artifacts, *attachments], progress)
    address = f"{releases}/{api.path(descriptor.release_version)}"
    try:
        client.upload(releases, body, content_type)
    except Refused as error:
        if error.code != RELEASE_CONFLICT:
            raise
        raise version_taken(client, address, descriptor, {digest: path for path, digest in files.items()}) from error
    pause, deadline = _FIRST_PAUSE_SECONDS, time.monotonic() + verdict_timeout
    while time.monotonic() < deadline:
        release = client.get(address)
        if release["status"] in _DECIDED:
            return release
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE_SECONDS)
    known = "".join(f"\n  {finding['code']}: {finding['message']}" for finding in release["findings"])
    raise DefinitionError(
        "VERDICT_OVERDUE",
        f"the release is still {release['status']} after {verdict_timeout:g} s; check it later{known}",
    )


def activate(
    client: Client,
    pipeline_id: str,
    release_version: str,
    reason: str,
    expected: str | None = None,
    *,
    wait_seconds: float = 0.0,
) -> dict[str, Any]:
    """Activate a registered release and return the activation as the API does.

    With ``expected``, the call fails unless that release is active, or none if it is "". If no worker may run the
    release and the policy requires one, it is tried again for ``wait_seconds``. Raises ``ClientError``.
    """
    deadline = time.monotonic() + wait_seconds
    body = {
        "releaseVersion": release_version,
        "reason": reason,
        "expectedReleaseVersion": expected,
        "operationKey": api.operation_key(),
    }
    request = Request("POST", api.path("pipelines", pipeline_id, "activations"), body=body)
    while True:
        try:
            return client.call(request)
        except Refused as error:
            if error.code != WORKER_REQUIRED or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def activate_published(
    release: dict[str, Any], client: Client, *, reason: str, wait_seconds: float = 0.0
) -> dict[str, Any]:
    """Activate a release that was published, and return the activation as the API does.

    Raises ``ClientError``, and ``DefinitionError`` WORKER_REQUIRED.
    """
    pipeline_id, version = str(release["pipelineId"]), str(release["releaseVersion"])
    try:
        return activate(client, pipeline_id, version, reason, wait_seconds=wait_seconds)
    except Refused as error:
        if error.code != WORKER_REQUIRED:
            raise
        text = "The release is registered, but not active. Start a worker, and then activate it"
        commands = f"pipelines worker {pipeline_id}@{version}\n  pipelines activate {pipeline_id}@{version}"
        raise DefinitionError(WORKER_REQUIRED, f"{error.detail}\n  {text}:\n  {commands}") from error


def _files(folder: Path, descriptor: Descriptor) -> dict[Path, str]:
    """Return the files of the stored artifacts with their digests, each once.

    Artifacts that the coordinator can get from a Maven repository may have no file here. Raises ``DefinitionError``:
    NO_ARTIFACT, INVALID_RELEASE if a file has another digest.
    """
    local = LocalFiles(folder)
    files: dict[str, Path] = {}
    for artifact in descriptor.artifacts:
        if not artifact.kind.is_stored or artifact.digest in files:
            continue
        path = local.find(artifact)
        if path is None and maven_location(artifact) is not None:
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
        files[digest] = path
    return {path: digest for digest, path in files.items()}


def _attached(folder: Path, more: Sequence[Path]) -> list[Path]:
    missing = [str(path) for path in more if not path.is_file()]
    if missing:
        raise DefinitionError("NO_ATTACHMENT", f"there is no file {', '.join(missing)}")
    _check_envelope(folder)
    attached = [path for pattern in ATTACHED for path in sorted(folder.glob(pattern)) if path.is_file()]
    return list({path.resolve(): path for path in [*attached, *more]}.values())


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


@dataclass(frozen=True, slots=True)
class _Body:
    """A body of ``length`` bytes, which is read from disk while it is sent, in constant memory."""

    length: int
    chunks: Iterator[bytes]
    progress: Callable[[int], None]
    """Receives the number of bytes sent so far."""

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self.chunks:
            yield chunk
            sent += len(chunk)
            self.progress(sent)


def multipart(parts: list[tuple[str, Path]], progress: Progress) -> tuple[_Body, str]:
    """Return a body with these files, each under a name, and its content type."""
    boundary = secrets.token_hex(16)
    heads = [(_head(boundary, name, path), path) for name, path in parts]
    end = f"--{boundary}--\r\n".encode()
    length = sum(len(head) + path.stat().st_size + 2 for head, path in heads) + len(end)

    def chunks() -> Iterator[bytes]:
        for head, path in heads:
            yield head
            yield from _chunks(path, 0, path.stat().st_size)
            yield b"\r\n"
        yield end

    return _Body(length, chunks(), lambda sent: progress(sent, length)), f"multipart/form-data; boundary={boundary}"


def _head(boundary: str, name: str, path: Path) -> bytes:
    file_name = json.dumps(path.name, ensure_ascii=False)
    disposition = f"Content-Disposition: form-data; name={json.dumps(name)}; filename={file_name}"
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def upload_directly(path: Path, digest: str, call: Call, progress: Progress, *, verdict_timeout: float) -> bool:
    """Upload the file to the coordinator's S3 store, in parts, and wait until it is verified.

    Return False if the coordinator offers no direct uploads. It lists the missing parts and the URL of each, so an
    interrupted upload resumes with the missing parts, even in another process.

    ``verdict_timeout`` limits the wait for the verification, in seconds. Raises ``ClientError``, and
    ``DefinitionError``: UPLOAD_REJECTED, STORE_UNREACHABLE, VERDICT_OVERDUE.
    """
    try:
        upload = call(Request("POST", "artifact-uploads", body={"digest": digest, "size": path.stat().st_size}))
    except Refused as error:
        if error.code in {"DIRECT_UPLOADS_UNAVAILABLE", "NOT_FOUND"}:
            return False
        raise
    address, failures = f"artifact-uploads/{upload['uploadId']}", 0
    while upload["status"] == "OPEN":
        if not upload["missing"]:
            upload = call(Request("POST", f"{address}/complete"))
            continue
        sent_bytes = upload["received"]
        for part in upload["missing"]:
            problem = _put(path, part, sent_bytes, upload["size"], progress)
            if problem:
                failures += 1
                break  # the coordinator knows which parts arrived
            failures = 0
            sent_bytes += part["size"]
        if failures >= _MOST_FAILURES:
            message = f"the artifact store accepts no part of {path.name}: {problem}; publish again to resume"
            raise DefinitionError("STORE_UNREACHABLE", message)
        if failures:
            time.sleep(min(0.25 * 2**failures, 10))
        upload = call(Request("GET", address))
    deadline = time.monotonic() + verdict_timeout
    while upload["status"] == "VERIFYING":
        if time.monotonic() > deadline:
            raise DefinitionError("VERDICT_OVERDUE", f"{path.name} is still being verified; publish again later")
        time.sleep(_PAUSE_SECONDS)
        upload = call(Request("GET", address))
    if upload["status"] != "STORED":
        why = (upload["finding"] or {}).get("message", "start again")
        raise DefinitionError("UPLOAD_REJECTED", f"{path.name} is {upload['status']}: {why}")
    progress(upload["size"], upload["size"])
    return True


def _put(path: Path, part: dict[str, Any], sent_bytes: int, total: int, progress: Progress) -> str:
    """Send a part. Return why the store did not accept it; an empty text if it did."""
    chunks = _chunks(path, part["offset"], part["size"])
    body = _Body(part["size"], chunks, lambda sent: progress(sent_bytes + sent, total))
    try:
        with opened("PUT", part["url"], headers={}, body=body) as response:  # the URL alone authorises the request
            # A redirect is not followed, so nothing is stored.
            return "" if response.status == 200 else f"it returned {response.status}"
    except Unreachable as error:
        return str(error)


def _chunks(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while size and (chunk := file.read(min(CHUNK, size))):
            yield chunk
            size -= len(chunk)
