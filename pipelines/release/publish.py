"""Publishes a release: uploads it, waits for the verdict, tells the findings, and activates it where that is asked."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from pipelines.errors import DefinitionError
from pipelines.release.descriptor import DESCRIPTOR_NAME, ENVELOPE_NAME
from pipelines.release.direct_upload import DIRECT_BYTES, send
from wire.documents.descriptor import Descriptor, parse_descriptor
from wire.findings import DocumentError
from wire.web_address import is_web_address

CONTRACT_NAME: Final = "pipeline-contract.json"
"""A contract in the release's folder goes beside the descriptor: a release of images alone has no other place."""
CHUNK: Final = 256 * 1024
PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.5
_TIMEOUT: Final = (10, 120)
_DECIDED: Final = frozenset({"REGISTERED", "REJECTED", "REVOKED"})

ATTACHED: Final = (ENVELOPE_NAME, "*.intoto.json", "*.intoto.jsonl", "*.cdx.json", "bom.json", "*.spdx.json")
"""How a release's signatures, provenance and SBOM are named by those who make them."""

Progress = Callable[[int, int], None]
"""Told how many bytes of how many have been sent."""


@dataclass(frozen=True, slots=True)
class Target:
    """A coordinator's tenant, and the token that may register there."""

    url: str
    tenant: str
    token: str

    def __repr__(self) -> str:
        return f"Target({self.url!r}, {self.tenant!r})"


def publish(
    folder: Path,
    target: Target,
    *,
    progress: Progress,
    patience: float = PATIENCE_SECONDS,
    attach: Sequence[Path] = (),
    direct_bytes: int = DIRECT_BYTES,
) -> dict[str, Any]:
    """Upload the release in ``folder`` and return it with its verdict, as the API shows it.

    Along go what is to ``attach``, and what lies there under a name of ATTACHED. Files of at least ``direct_bytes`` go
    straight to the artifact store where the coordinator offers that.

    Equal metadata that is there already is no mistake: its verdict is returned. Raises ``DefinitionError``:
    INVALID_RELEASE, NO_ARTIFACT, NO_ATTACHMENT, INVALID_URL, COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED,
    VERDICT_OVERDUE, and those of ``direct_upload.send``.
    """
    descriptor = _descriptor(folder / DESCRIPTOR_NAME)
    files = _files(folder, descriptor)
    attachments = [("attachment", path) for path in _attached(folder, attach)]
    with _session(target) as http:
        pipeline = _address(target, descriptor)
        large = {path: digest for path, digest in files.items() if path.stat().st_size >= direct_bytes}
        sent = _sent_directly(http, target, large, progress, patience)
        artifacts = [("artifact", path) for path in files if path not in sent]
        body = _Multipart([*_documents(folder), *artifacts, *attachments], progress)
        headers = {"Content-Type": body.content_type}
        _asked(http, "POST", f"{pipeline}/releases", (200, 202), data=body, headers=headers)
        address = f"{pipeline}/releases/{quote(descriptor.release_version, safe='/')}"
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            release = _asked(http, "GET", address, (200,))
            if release["status"] in _DECIDED:
                return release
            time.sleep(_PAUSE_SECONDS)
    raise DefinitionError(
        "VERDICT_OVERDUE", f"the release is still {release['status']} after {patience:g} s; look later"
    )


def activate(release: dict[str, Any], target: Target, *, reason: str) -> dict[str, Any]:
    """Activate a published release and return the event. Raises ``DefinitionError`` as ``publish`` does."""
    address = f"{_base(target)}/pipelines/{quote(str(release['pipelineId']), safe='')}/activations"
    body = {"releaseVersion": release["releaseVersion"], "reason": reason, "operationKey": secrets.token_hex(16)}
    with _session(target) as http:
        return _asked(http, "POST", address, (201,), json=body)


def _descriptor(path: Path) -> Descriptor:
    try:
        return parse_descriptor(path.read_bytes())
    except (OSError, DocumentError) as error:
        raise DefinitionError("INVALID_RELEASE", f"{path} is no release descriptor: {error}") from error


def _documents(folder: Path) -> list[tuple[str, Path]]:
    contract = folder / CONTRACT_NAME
    return [("descriptor", folder / DESCRIPTOR_NAME), *([("contract", contract)] if contract.is_file() else [])]


def _sent_directly(
    http: requests.Session, target: Target, files: dict[Path, str], progress: Progress, patience: float
) -> set[Path]:
    """The files that are in the artifact store by now, so that the release need not bring them."""

    def ask(method: str, path: str, expected: tuple[int, ...], **more: Any) -> dict[str, Any]:
        return _asked(http, method, f"{_base(target)}/{path}", expected, **more)

    return {path for path, digest in files.items() if send(path, digest, ask, progress, patience=patience)}


def _files(folder: Path, descriptor: Descriptor) -> dict[Path, str]:
    """The files of the stored artifacts, once each, with their digests; each must be what the descriptor says."""
    found: dict[str, Path] = {}
    for artifact in descriptor.artifacts:
        if not artifact.kind.is_stored or artifact.digest in found:
            continue
        path = folder / Path(artifact.uri).name
        try:
            with path.open("rb") as file:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise DefinitionError("NO_ARTIFACT", f"the artifact {path} cannot be read") from error
        if digest != artifact.digest:
            raise DefinitionError("INVALID_RELEASE", f"{path} is not what the descriptor says; release it again")
        found[digest] = path
    return {path: digest for digest, path in found.items()}


def _attached(folder: Path, more: Sequence[Path]) -> list[Path]:
    missing = [str(path) for path in more if not path.is_file()]
    if missing:
        raise DefinitionError("NO_ATTACHMENT", f"there is no file {', '.join(missing)}")
    _check_envelope(folder)
    found = [path for pattern in ATTACHED for path in sorted(folder.glob(pattern)) if path.is_file()]
    return list({path.resolve(): path for path in [*found, *more]}.values())


def _check_envelope(folder: Path) -> None:
    """A signature over an earlier descriptor would have the release rejected."""
    path = folder / ENVELOPE_NAME
    if not path.is_file():
        return
    try:
        signed = base64.b64decode(json.loads(path.read_bytes())["payload"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DefinitionError("INVALID_RELEASE", f"{path} is no DSSE envelope; sign the release again") from error
    if signed != (folder / DESCRIPTOR_NAME).read_bytes():
        raise DefinitionError("INVALID_RELEASE", f"{path} is over another descriptor; sign the release again")


def _session(target: Target) -> requests.Session:
    http = requests.Session()
    http.headers.update({"Authorization": f"Bearer {target.token}", "Accept": "application/json"})
    # Otherwise an entry of ~/.netrc for the host would replace the token.
    http.trust_env = False
    return http


def _base(target: Target) -> str:
    if not is_web_address(target.url):
        raise DefinitionError("INVALID_URL", "--url must be the http or https address of the coordinator")
    return f"{target.url.rstrip('/')}/api/v1/tenants/{quote(target.tenant, safe='')}"


def _address(target: Target, descriptor: Descriptor) -> str:
    return f"{_base(target)}/pipelines/{quote(descriptor.pipeline_id, safe='')}"


def _asked(http: requests.Session, method: str, url: str, expected: tuple[int, ...], **more: Any) -> dict[str, Any]:
    try:
        answer = http.request(method, url, timeout=_TIMEOUT, allow_redirects=False, **more)
    except requests.RequestException as error:
        message = f"the coordinator does not answer: {type(error).__name__}"
        raise DefinitionError("COORDINATOR_UNREACHABLE", message) from error
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.status_code in expected and isinstance(document, dict):
        return document
    told = document if isinstance(document, dict) else {}
    lines = [f"{answer.status_code} {told.get('code', '')} {told.get('detail', '')}".strip()]
    lines += [f"  {error.get('field', '')}: {error.get('message', '')}" for error in told.get("errors", ())]
    raise DefinitionError("COORDINATOR_REFUSED", "\n".join(lines))


class _Multipart:
    """A multipart body that is read from disk as it is sent, in constant memory."""

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
