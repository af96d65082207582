"""Registers a release from files on the coordinator's host.

Only files below TPF_RELEASE_ROOTS are opened, after links are resolved. Responses disclose nothing about other files.
"""

import os
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from django.conf import settings

from executions.workers.eligibility import CHECK_TASK
from foundation import wakeup
from foundation.errors import PayloadTooLarge
from interop.surface import Refusal
from releases.artifacts.store import CHUNK, artifact_store
from releases.errors import DescriptorInvalid, ReleaseConflict
from releases.models import Recipients, Release, WorkerGate
from releases.registration.registrar import UploadedArtifact, register
from releases.registration.verification import verify_release
from releases.registration.verification_pool import VerificationUnavailable, verify
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.descriptor import (
    MATCHES_NO_FILE,
    MAX_DESCRIPTOR_BYTES,
    NAMES_PROFILE,
    ArtifactRef,
    Descriptor,
    artifact_field,
    parse_descriptor,
)
from wire.findings import DocumentError, Finding, Severity
from wire.release.verification import FILE_MISSING, OTHER_DIGEST, unreadable

OpenArtifact = Callable[[ArtifactRef], BinaryIO | None]
NOT_ABSOLUTE = "releaseDescriptorPath must be absolute"
NOT_READABLE = "releaseDescriptorPath must point to a readable file"


def register_from(tenant: Tenant, pipeline_id: str, descriptor_path: str, *, actor: str) -> Release:
    """Register and verify the release whose descriptor is at `descriptor_path`.

    Raises `Refusal` with the first problem, in the order and with the texts of the protocol. A rejected release leaves
    no rows and no files.
    """
    path = Path(descriptor_path)
    if not path.is_absolute():
        raise Refusal(400, NOT_ABSOLUTE)
    file = _opened(path)
    if file is None:
        raise Refusal(400, NOT_READABLE)
    with file:
        document = file.read(MAX_DESCRIPTOR_BYTES + 1)
    descriptor = _descriptor(document, pipeline_id)
    open_artifact = partial(_open, path.parent)
    try:
        verdict = verify(descriptor, open_artifact)
    except VerificationUnavailable as error:
        raise Refusal(503, f"Failed to inspect release artifact: {error}") from None
    _refuse_first(_message(finding, descriptor) for finding in verdict.findings if finding.severity is Severity.ERROR)
    files = _staged(descriptor, open_artifact)
    try:
        # Existing clients activate a release before its workers start, and answer as no member of the tenant.
        release = register(
            tenant,
            document,
            files,
            actor=actor,
            pipeline_id=pipeline_id,
            any_reference=True,
            worker_gate=WorkerGate.WARN,
            recipients=Recipients.INFORM,
        ).release
    except DescriptorInvalid as error:
        raise _refusal(error.errors[0]["message"]) from None
    except ReleaseConflict as error:
        raise Refusal(409, error.detail) from None
    verify_release(release.pk)
    release.refresh_from_db()
    if release.status == Status.REJECTED:
        wrong = Severity.ERROR.value
        _refuse_first(finding["message"] for finding in release.findings if finding.get("severity", wrong) == wrong)
    wakeup.send_once(CHECK_TASK)  # a REST worker may already be registered for the release
    if release.status != Status.REGISTERED:
        raise Refusal(409, f"Release {release.release_version} is {release.status}")
    return release


def _message(finding: Finding, descriptor: Descriptor) -> str:
    """Return the message of a finding. A missing file has the protocol's text, also in the newer profile."""
    if finding.code != FILE_MISSING:
        return finding.message
    kinds = {artifact_field(position): artifact.kind for position, artifact in enumerate(descriptor.artifacts)}
    return unreadable(kinds[finding.field])


def _refuse_first(messages: Iterable[str]) -> None:
    for message in messages:
        raise _refusal(message)


def _refusal(message: str) -> Refusal:
    """Return a refusal with the text of the protocol, which compares digests of any form and names no profile."""
    return Refusal(400, OTHER_DIGEST if message in MATCHES_NO_FILE else message.removeprefix(NAMES_PROFILE))


def _descriptor(document: bytes, pipeline_id: str) -> Descriptor:
    try:
        descriptor = parse_descriptor(document)
    except DocumentError as error:
        raise _refusal(error.findings[0].message) from None
    if descriptor.pipeline_id.strip() != pipeline_id:
        raise Refusal(400, "Release descriptor pipelineId does not match request path")
    return descriptor


def _open(folder: Path, artifact: ArtifactRef) -> BinaryIO | None:
    """Return the file of a local artifact. A relative path starts at the working directory or the descriptor's folder.

    `pipelines release` writes paths for the descriptor's folder, so that a release can be moved with its files.
    """
    path = local_path(artifact.uri)
    if path is None:
        return None
    return _opened(path) or (None if path.is_absolute() else _opened(folder / path))


def local_path(uri: str) -> Path | None:
    """Return the path that a `file:` URI or a plain path names; None for a URI of another host."""
    if not uri.startswith("file:"):
        return Path(uri)
    url = urlsplit(uri)
    return Path(unquote(url.path)) if url.netloc in {"", "localhost"} and url.path.startswith("/") else None


def _opened(path: Path) -> BinaryIO | None:
    """Open `path` if it is a regular file below TPF_RELEASE_ROOTS after links are resolved, else return None."""
    try:
        real = path.resolve(strict=True)
        roots = [root.resolve(strict=True) for root in settings.TPF_RELEASE_ROOTS if root.exists()]
        if not any(real.is_relative_to(root) for root in roots):
            return None
        # The flags protect from a link or a pipe that replaces the file after it was resolved.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _staged(descriptor: Descriptor, open_artifact: OpenArtifact) -> list[UploadedArtifact]:
    """Stage the local artifacts in the artifact store. Raises `Refusal`, and then discards them."""
    files: list[UploadedArtifact] = []
    try:
        for artifact in descriptor.artifacts:
            if artifact.kind.is_stored and artifact.digest not in {file.staged.digest for file in files}:
                files.append(_stage(artifact, open_artifact))
    except (OSError, PayloadTooLarge) as error:
        for file in files:
            file.staged.discard()
        reason = error.detail if isinstance(error, PayloadTooLarge) else type(error).__name__
        raise Refusal(400, f"Failed to inspect release artifact: {reason}") from None
    return files


def _stage(artifact: ArtifactRef, open_artifact: OpenArtifact) -> UploadedArtifact:
    file = open_artifact(artifact)
    if file is None:
        raise OSError("the file no longer exists")
    staged = artifact_store().stage(settings.MAX_ARTIFACT_BYTES)
    try:
        with file:
            while chunk := file.read(CHUNK):
                staged.write(chunk)
    except BaseException:
        staged.discard()
        raise
    return UploadedArtifact(Path(artifact.uri).name, staged)
