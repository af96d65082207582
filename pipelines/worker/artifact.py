"""Downloads the artifact that a worker hosts from the coordinator, and unpacks it into a private folder."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from coordinator_client.api import Client
from pipelines.environment import Interpreter, Required
from pipelines.errors import DefinitionError
from pipelines.release.files import LocalFiles, is_file, named_file, read_descriptor
from pipelines.release.folders import descriptor_in, identity_in
from wire.documents.contract import LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import DESCRIPTOR_NAME, ArtifactRef, CarrierDescriptor, Descriptor
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


def find_artifact(descriptor: Descriptor, descriptor_path: Path) -> Path | None:
    """Return the file that a worker hosts by default, or None if it is not on this machine.

    For the profile ``tpf-2026-08`` it is the only artifact with a file name, next to the descriptor. For
    ``tpf-2026-10`` it is the file that the ``file:`` URI of ``hosted_artifact`` names, or the one next to the
    descriptor with that name, or with the digest.
    """
    if isinstance(descriptor, CarrierDescriptor):
        hosted = hosted_artifact(descriptor, descriptor_path)
        return named_file(hosted, descriptor_path.parent) or LocalFiles(descriptor_path.parent).find(hosted)
    names = [artifact.uri for artifact in artifacts_with_code(descriptor) if Path(artifact.uri).name == artifact.uri]
    path = descriptor_path.with_name(names[0]) if len(names) == 1 else None
    return path if path is not None and is_file(path) else None


def local_artifact(descriptor: Descriptor, descriptor_path: Path, hint: str = "name a copy with --artifact") -> Path:
    """Return the file of ``find_artifact``, or raise ``DefinitionError`` NO_ARTIFACT with the hint."""
    path = find_artifact(descriptor, descriptor_path)
    if path is None:
        hosted = hosted_artifact(descriptor, descriptor_path)
        message = f"the artifact {shown(hosted.uri)} is not in {descriptor_path.parent}; {hint}"
        raise DefinitionError("NO_ARTIFACT", message)
    return path


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


@contextmanager
def located(
    name: str, client: Callable[[], Client], artifact: Path | None = None, *, fetch: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Yield the descriptor of a release and the artifact to host. What is not on this machine is downloaded.

    ``name`` is that of ``named_release``, and ``artifact`` by default the file of ``find_artifact``, or with ``fetch``
    the coordinator's. ``client`` raises ``DefinitionError`` if the options name no coordinator. The downloaded files
    exist until the end of the block.

    Raises ``ClientError``, and the errors of ``named_release``, ``fetched`` and ``client``.
    """
    with named_release(name, client) as descriptor:
        path = artifact or (None if fetch else find_artifact(read_descriptor(descriptor), descriptor))
        if path is not None:
            yield descriptor, path
            return
        try:
            coordinator = client()
        except DefinitionError as error:
            hint = f"name a copy with --artifact, or to download it, {error.message}"
            local_artifact(read_descriptor(descriptor), descriptor, hint)
            raise
        with fetched(descriptor, coordinator) as downloaded:
            yield descriptor, downloaded


@contextmanager
def named_release(name: str, client: Callable[[], Client]) -> Iterator[Path]:
    """Yield the descriptor of the release ``name``, which is a path as in ``descriptor_in``, or PIPELINE@VERSION.

    The latter is downloaded from the coordinator into a private file, which is removed at the end of the block.
    ``client`` needs a token with the scope ``read``.

    Raises ``ClientError``, and ``DefinitionError``: NO_RELEASE, INVALID_RELEASE, and those of ``client``.
    """
    identity = identity_in(name)
    if identity is None:
        yield descriptor_in(Path(name))
        return
    from pipelines.release.download import write_descriptor  # most commands download nothing

    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        descriptor = Path(folder) / DESCRIPTOR_NAME
        write_descriptor(client(), *identity, descriptor)
        yield descriptor


@contextmanager
def fetched(descriptor_path: Path, client: Client, *, seconds: float | None = None) -> Iterator[Path]:
    """Download the artifact of ``hosted_artifact`` into a private file, which is removed at the end of the block.

    A broken download continues where it broke off. The bytes have the digest that the descriptor on this machine pins,
    so the coordinator cannot choose the code. ``client`` needs a token with the scope ``artifacts:read``. ``seconds``
    limits how long failures are retried while no byte arrives; by default DOWNLOAD_SECONDS. Imports what it needs when
    it runs, because most workers download nothing.

    Raises ``ClientError``, and ``DefinitionError``: INVALID_RELEASE, NO_ARTIFACT, ARTIFACT_MISMATCH.
    """
    from pipelines.release.download import DOWNLOAD_SECONDS, download_artifact

    digest = hosted_artifact(read_descriptor(descriptor_path), descriptor_path).digest
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        path = Path(folder) / "artifact"
        download_artifact(client, digest, path, seconds=DOWNLOAD_SECONDS if seconds is None else seconds)
        yield path
