"""Downloads the artifact that a worker hosts from the coordinator, and unpacks it into a private folder."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from coordinator_client.api import Client, Request, refused
from coordinator_client.errors import Refused, Unreachable
from coordinator_client.http import Response
from pipelines.environment import Interpreter, Required
from pipelines.errors import DefinitionError
from pipelines.release.files import digest_of, named_file, read_descriptor
from wire.documents.contract import LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import ArtifactRef, CarrierDescriptor, Descriptor
from wire.documents.json_reader import shown
from wire.release.archive import Layout, read_layout, unpacked
from wire.release.directory import ArchiveError

_CHUNK: Final = 1024 * 1024
_private_folders: Final[dict[Path, int]] = {}
"""The process that made each private folder. A forked process may exit earlier."""


@dataclass(frozen=True, slots=True)
class UnpackedArtifact:
    """An artifact of a release, with its files in a private folder.

    ``pinned`` is the artifact in ``descriptor``. ``files`` has the SHA-256 digest of each file, in hexadecimal, by its
    absolute path. ``pipeline`` is the reference of the artifact's pipeline, MODULE:NAME. ``required`` is the
    environment that its code needs.
    """

    descriptor: Descriptor
    pinned: ArtifactRef
    folder: Path
    files: dict[str, str]
    pipeline: str
    required: Required


def unpack_release(descriptor_path: Path, artifact: Path | None = None) -> UnpackedArtifact:
    """Verify the artifact of a release and unpack it into a new private folder, until the process exits.

    ``artifact`` defaults to that of ``local_artifact``. Exactly those bytes are unpacked whose digest the release pins.

    Raises ``DefinitionError``: those of ``read_descriptor`` and ``local_artifact``, NO_ARTIFACT, ARTIFACT_MISMATCH,
    NOT_AN_ARTIFACT, and UNPACKING_FAILED if the folder for temporary files cannot be written.
    """
    descriptor = read_descriptor(descriptor_path)
    path = artifact or local_artifact(descriptor, descriptor_path)
    try:
        folder = Path(tempfile.mkdtemp(prefix="pipeline-")).resolve()  # only this user can read it
        _private_folders[folder] = os.getpid()
        with tempfile.TemporaryFile() as copy:
            pinned = _pinned(descriptor, _copy(path, copy), path)
            if (layout := read_layout(cast("BinaryIO", copy))) is None:
                raise _unusable(path, "it is not a zip file")
            files = dict(_unpacked(layout, folder))
    except ArchiveError as error:
        raise _unusable(path, str(error)) from error
    except OSError as error:
        raise DefinitionError(
            "UNPACKING_FAILED",
            f"cannot unpack {path}: {error.strerror or error}; set TMPDIR to a writable folder with free space",
        ) from error
    return UnpackedArtifact(descriptor, pinned, folder, files, *_python(folder, path))


@atexit.register
def remove_private_folders() -> None:
    """Remove the folders of unpacked artifacts. This is also done when the process exits, unless a signal kills it."""
    for folder, owner in _private_folders.items():
        if owner == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)


def artifacts_with_code(descriptor: Descriptor) -> list[ArtifactRef]:
    """Return the artifacts whose bytes can contain the code of steps."""
    return [artifact for artifact in descriptor.artifacts if artifact.kind.is_stored and artifact.kind.is_deployable]


def local_artifact(descriptor: Descriptor, descriptor_path: Path) -> Path:
    """Return the path of the artifact that a worker hosts by default, next to the descriptor.

    For the profile ``tpf-2026-08`` it is the only artifact with a file name. For ``tpf-2026-10`` it is the file that
    the ``file:`` URI of ``hosted_artifact`` names, or the file with the same name next to the descriptor.

    Raises ``DefinitionError`` NO_ARTIFACT if there is no such artifact.
    """
    if isinstance(descriptor, CarrierDescriptor):
        hosted = hosted_artifact(descriptor, descriptor_path)
        path = named_file(hosted, descriptor_path.parent)
        if path is None:
            raise DefinitionError(
                "NO_ARTIFACT",
                f"{shown(hosted.uri)} is no file of this machine; name a copy with --artifact FILE, or download it "
                "from the coordinator with --fetch",
            )
        return path
    names = [artifact.uri for artifact in artifacts_with_code(descriptor) if Path(artifact.uri).name == artifact.uri]
    if len(names) != 1:
        raise DefinitionError(
            "NO_ARTIFACT",
            f"{descriptor_path} names {len(names)} artifacts by file name; choose one with --artifact FILE",
        )
    return descriptor_path.with_name(names[0])


def hosted_artifact(descriptor: Descriptor, descriptor_path: Path) -> ArtifactRef:
    """Return the artifact that a worker hosts by default: the carrier if it can have code, or else the only one.

    Artifacts with equal bytes count once. Raises ``DefinitionError`` NO_ARTIFACT if the worker must choose.
    """
    if isinstance(descriptor, CarrierDescriptor) and descriptor.carrier.kind.is_deployable:
        return descriptor.carrier
    by_digest = {artifact.digest: artifact for artifact in reversed(artifacts_with_code(descriptor))}
    if len(by_digest) != 1:
        raise DefinitionError(
            "NO_ARTIFACT",
            f"{descriptor_path} pins {len(by_digest)} artifacts with code; choose one with --artifact FILE",
        )
    return next(iter(by_digest.values()))


def _copy(path: Path, copy: BinaryIO) -> str:
    """Copy the file and return the digest of the copy, which no other process can change."""
    hashed = hashlib.sha256()
    for piece in _pieces(path):
        hashed.update(piece)
        copy.write(piece)
    return f"sha256:{hashed.hexdigest()}"


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while piece := source.read(_CHUNK):
                yield piece
    except OSError as error:
        raise DefinitionError("NO_ARTIFACT", f"cannot read the artifact {path}: {error.strerror}") from error


def _pinned(descriptor: Descriptor, digest: str, path: Path) -> ArtifactRef:
    with_code = artifacts_with_code(descriptor)
    for artifact in with_code:
        if artifact.digest == digest:
            return artifact
    pinned = ", ".join(artifact.digest for artifact in with_code) or "no artifact with code"
    raise DefinitionError("ARTIFACT_MISMATCH", f"{path} has the digest {digest}, but the release pins {pinned}")


def _unpacked(layout: Layout, folder: Path) -> Iterator[tuple[str, str]]:
    """Write all files of the archive, whose names `read_layout` has checked. Yield each path with its digest."""
    for entry in layout.entries:
        target = folder / entry.name
        if entry.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        hashed = hashlib.sha256()
        with target.open("xb") as file:
            for piece in unpacked(layout, entry):
                hashed.update(piece)
                file.write(piece)
        yield str(target), hashed.hexdigest()


def _python(folder: Path, path: Path) -> tuple[str, Required]:
    """Return the reference of the pipeline and the required environment from the entries that ``build`` wrote."""
    try:
        python = json.loads((folder / PYTHON_ENTRY).read_bytes())
        pipeline = python.pop("pipeline")
        lock = (folder / LOCK_ENTRY).read_text(encoding="utf-8")
        return str(pipeline), Required(Interpreter(**python), lock)
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise _unusable(path, f"it has no usable entries {PYTHON_ENTRY} and {LOCK_ENTRY}") from error


def _unusable(path: Path, reason: str) -> DefinitionError:
    return DefinitionError("NOT_AN_ARTIFACT", f"{path} cannot be hosted: {reason}; build it again")


DOWNLOAD_SECONDS: Final = 60.0
"""How long a download is retried while no byte arrives."""
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/\d+")


@contextmanager
def fetched(descriptor_path: Path, client: Client, *, seconds: float = DOWNLOAD_SECONDS) -> Iterator[Path]:
    """Download the artifact of ``hosted_artifact`` into a private file, which is removed at the end of the block.

    A broken download continues where it broke off. The bytes have the digest that the descriptor on this machine pins,
    so the coordinator cannot choose the code. ``client`` needs a token with the scope ``artifacts:read``. ``seconds``
    limits how long failures are retried while no byte arrives.

    Raises ``ClientError``, and ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, ARTIFACT_MISMATCH.
    """
    digest = hosted_artifact(read_descriptor(descriptor_path), descriptor_path).digest
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        path = Path(folder) / "artifact"
        with path.open("wb") as file:
            _download(client, digest, file, seconds)
        if (found := digest_of(path)) != digest:
            message = f"the coordinator sent bytes with the digest {found}, but the release pins {digest}"
            raise DefinitionError("ARTIFACT_MISMATCH", message)
        yield path


def _download(client: Client, digest: str, file: BinaryIO, seconds: float) -> None:
    """Write the artifact to ``file``, and continue each time the connection breaks."""
    pause, deadline = 0.25, time.monotonic() + seconds
    while True:
        begin = file.tell()
        headers = {"Accept": "application/octet-stream"}
        if begin:
            headers |= {"Range": f"bytes={begin}-", "If-Range": f'"{digest}"'}
        try:
            with client.opened(Request("GET", f"artifacts/{digest}"), headers) as response:
                return _receive(response, file)
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status not in _TRANSIENT:
                raise
            if file.tell() > begin:
                pause, deadline = 0.25, time.monotonic() + seconds
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5)


def _receive(response: Response, file: BinaryIO) -> None:
    """Append the missing bytes, or replace all if the response has all."""
    begin = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    continues = response.status == 206 and begin is not None and int(begin[1]) == file.tell()
    if response.status != 200 and not continues:
        raise refused(response)
    if response.status == 200:
        file.seek(0)
        file.truncate()
    for piece in response.pieces():
        try:
            file.write(piece)
        except OSError as error:
            raise DefinitionError("NO_ARTIFACT", f"the artifact cannot be written: {error.strerror}") from error
