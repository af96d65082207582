"""Downloads releases from a coordinator. The digests of a release decide which bytes are accepted."""

from __future__ import annotations

import hashlib
import json
import re
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from coordinator_client.api import Client, Request, path, refused
from coordinator_client.errors import Refused, Unreachable
from coordinator_client.http import Response
from pipelines.errors import DefinitionError
from pipelines.release.files import digest_of, read_descriptor
from pipelines.release.folders import folder_name, writing
from wire.documents.artifact_uri import FileUri, MavenUri
from wire.documents.contract import CONTRACT_ENTRY, CONTRACT_NAME, contract_from_json
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    ENVELOPE_NAME,
    MAX_DESCRIPTOR_BYTES,
    ArtifactRef,
    Descriptor,
    LocatedArtifactRef,
)
from wire.documents.json_reader import shown

DOWNLOAD_SECONDS: Final = 60.0
"""How long a download is retried while no byte arrives."""
MOST_ATTACHED_BYTES: Final = 64 * 1024 * 1024
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/\d+")
_RESERVED: Final = frozenset({DESCRIPTOR_NAME, ENVELOPE_NAME, CONTRACT_NAME, "attachment", "", ".", ".."})

Progress = Callable[[int, int], None]
"""Receives the number of bytes received so far, and the total number."""


def download(client: Client, pipeline_id: str, release_version: str, out_dir: Path, *, progress: Progress) -> Path:
    """Download a release into its folder in ``out_dir``, completely or not at all. Return the folder.

    The folder gets the descriptor, the stored artifacts, the contract if none of them contains it, and the signatures,
    provenance and SBOMs. So it can be hosted, verified, and published elsewhere. A token needs the scopes ``read`` and
    ``artifacts:read``.

    Raises ``ClientError``, and ``DefinitionError``: NO_RELEASE, INVALID_RELEASE, ARTIFACT_MISMATCH, RELEASE_EXISTS,
    OUT_DIR_UNWRITABLE.
    """
    with writing(out_dir, release_version) as folder:
        release, descriptor = write_descriptor(client, pipeline_id, release_version, folder / DESCRIPTOR_NAME)
        sizes = {artifact["digest"]: int(artifact["size"] or 0) for artifact in release["artifacts"]}
        stored = {artifact.digest: artifact for artifact in descriptor.artifacts if artifact.kind.is_stored}
        total, done = sum(sizes.get(digest, 0) for digest in stored), 0
        for digest, artifact in stored.items():
            download_artifact(client, digest, folder / _file_name(artifact, folder))
            done += sizes.get(digest, 0)
            progress(done, total)
        if release["contract"] is not None and not any(map(_has_contract, folder.iterdir())):
            _write_contract(release["contract"], descriptor, folder / CONTRACT_NAME)
        _write_attachments(client, pipeline_id, release["attachments"], folder)
    return out_dir / folder_name(release_version)


def write_descriptor(
    client: Client, pipeline_id: str, release_version: str, target: Path
) -> tuple[dict[str, Any], Descriptor]:
    """Write the exact bytes of a descriptor. Return the release as the API does, and the descriptor.

    Raises ``ClientError``, and ``DefinitionError``: NO_RELEASE, INVALID_RELEASE.
    """
    release = client.get(path("pipelines", pipeline_id, "releases", release_version))
    if release["status"] == "REJECTED":
        raise DefinitionError("NO_RELEASE", f"the coordinator rejected release {shown(release_version)}")
    digest = str(release["descriptorDigest"])
    _write(client, path("pipelines", pipeline_id, "descriptors", digest), digest, target, MAX_DESCRIPTOR_BYTES)
    descriptor = read_descriptor(target)
    if (descriptor.pipeline_id, descriptor.release_version) != (pipeline_id, release_version):
        raise DefinitionError("INVALID_RELEASE", "the coordinator sent the descriptor of another release")
    return release, descriptor


def _has_contract(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return CONTRACT_ENTRY in archive.namelist()


def _write_contract(document: Mapping[str, Any], descriptor: Descriptor, target: Path) -> None:
    if contract_from_json(document).contract_version != descriptor.contract_version:
        raise DefinitionError("INVALID_RELEASE", "the coordinator sent the contract of another release")
    target.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _file_name(artifact: ArtifactRef, folder: Path) -> str:
    """Return the name under which workers and ``publish`` find an artifact; its digest if that name is not usable."""
    if not isinstance(artifact, LocatedArtifactRef):
        name = Path(artifact.uri).name
    elif isinstance(artifact.location, FileUri | MavenUri):
        name = Path(artifact.location.path).name
    else:
        name = ""
    is_usable = name not in _RESERVED and not name.startswith(".") and not (folder / name).exists()
    return name if is_usable else f"{artifact.digest.removeprefix('sha256:')}.zip"


def _write_attachments(client: Client, pipeline_id: str, attachments: list[dict[str, Any]], folder: Path) -> None:
    """Write signatures, provenance and SBOMs under the names with which ``publish`` finds them."""
    for number, attachment in enumerate(attachments, start=1):
        digest, kind = str(attachment["digest"]), str(attachment["kind"])
        scratch = folder / "attachment"
        _write(client, path("pipelines", pipeline_id, "attachments", digest), digest, scratch, MOST_ATTACHED_BYTES)
        signature = ENVELOPE_NAME if not (folder / ENVELOPE_NAME).exists() else f"signature-{number}.dsse.json"
        sbom = f"sbom-{number}.{'spdx' if b'spdxVersion' in scratch.read_bytes() else 'cdx'}.json"
        names = {"signature": signature, "provenance": f"provenance-{number}.intoto.json", "sbom": sbom}
        scratch.rename(folder / names.get(kind, f"attachment-{number}.json"))


def _write(client: Client, address: str, digest: str, target: Path, limit: int) -> None:
    """Write a document with this digest. Raises ``DefinitionError`` INVALID_RELEASE if it is another one."""
    data = bytearray()

    def receive(piece: bytes) -> None:
        data.extend(piece)
        if len(data) > limit:
            raise DefinitionError("INVALID_RELEASE", f"the coordinator sent more than {limit} bytes for {digest}")

    client.download(Request("GET", address), receive)
    if (received := f"sha256:{hashlib.sha256(data).hexdigest()}") != digest:
        raise DefinitionError("INVALID_RELEASE", f"the coordinator sent bytes with the digest {received}, not {digest}")
    target.write_bytes(data)


def download_artifact(client: Client, digest: str, target: Path, *, seconds: float = DOWNLOAD_SECONDS) -> None:
    """Write the artifact with this digest to ``target``, and continue each time the connection breaks.

    ``client`` needs a token with the scope ``artifacts:read``. ``seconds`` limits how long failures are retried while
    no byte arrives. Raises ``ClientError``, and ``DefinitionError``: ARTIFACT_MISMATCH, NO_ARTIFACT.
    """
    with target.open("wb") as file:
        _download(client, digest, file, seconds)
    if (received := digest_of(target)) != digest:
        message = f"the coordinator sent bytes with the digest {received}, but the release pins {digest}"
        raise DefinitionError("ARTIFACT_MISMATCH", message)


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
