"""Writes the release descriptor of built artifacts, in either profile."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DefinitionError, raise_all
from pipelines.release.files import copy_pinned, digest_of
from pipelines.release.folders import folder_name, writing
from wire.documents.artifact_uri import MAVEN, ArtifactUriError, FileUri, ImageUri, MavenUri, parse_artifact_uri
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, MAX_CONTRACT_BYTES, Contract, parse_contract
from wire.documents.descriptor import DESCRIPTOR_NAME, ENVELOPE_NAME, ArtifactKind, Profile, parse_descriptor
from wire.documents.json_reader import shown
from wire.findings import DocumentError, Severity
from wire.release.content import MAX_CAPABILITIES_BYTES, known_capabilities
from wire.release.verification import verify

_ARTIFACT_ID: Final = re.compile(r"[A-Za-z0-9_.-]+")
_COORDINATES: Final = "GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION"


@dataclass(frozen=True, slots=True)
class WrittenRelease:
    """A written descriptor and its document. ``envelope`` is the file with the signatures, None if it is unsigned."""

    path: Path
    document: dict[str, Any]
    envelope: Path | None = None


def release(
    out_dir: Path,
    artifacts: Sequence[Path] = (),
    *,
    release_version: str | None = None,
    sign_with: Sequence[Path] = (),
    profile: Profile = Profile.TPF_2026_08,
    carrier: str | None = None,
    maven: Sequence[str] = (),
    images: Sequence[str] = (),
) -> WrittenRelease:
    """Write the folder of a release into ``out_dir``, for ``artifacts`` or else for all ``*.zip`` files there.

    It is named after the version, and gets ``pipeline-release.json`` and copies of the artifacts, completely or not at
    all. A release that exists stays as it is: releasing the same again only adds missing artifacts. With ``sign_with``,
    it replaces the signatures by those of these keys.

    All artifacts must contain the same contract. ``release_version`` defaults to the artifact's digest, so the same
    source gives the same release. ``sign_with`` names files of private keys. With keys, a DSSE envelope over the
    descriptor's bytes is written next to it. A release that breaks a rule of its profile is not written.

    The profile ``tpf-2026-10`` also says where others find the artifacts, and which artifact is the carrier, the one
    with all steps and capabilities. ``carrier`` is its artifactId. It may be None if there is one artifact. ``maven``
    has the Maven coordinates of the artifacts in their order, or nothing if they are files of this machine. ``images``
    are the ``oci:`` URIs of container images in which the artifacts run.

    Raises ``DefinitionError``: NO_ARTIFACT, NOT_AN_ARTIFACT, MIXED_ARTIFACTS, INVALID_RELEASE_VERSION, INVALID_RELEASE,
    WRONG_PROFILE, INVALID_ARTIFACT_NAME, INVALID_CARRIER, INVALID_MAVEN_COORDINATES, INVALID_IMAGE, RELEASE_EXISTS,
    OUT_DIR_UNWRITABLE, and those of ``signing_key.load``.
    """
    if profile is Profile.TPF_2026_08 and (carrier is not None or maven or images):
        message = f"--carrier, --maven and --image need --profile {Profile.TPF_2026_10}"
        raise DefinitionError("WRONG_PROFILE", message)
    if release_version is not None and not release_version.strip():
        raise DefinitionError("INVALID_RELEASE_VERSION", "the release version is blank; leave it out or name one")
    paths = list(artifacts) or sorted(out_dir.glob("*.zip"))
    if not paths:
        text = f"there is no artifact in {out_dir}; name the pipeline, such as pipelines release orders.py"
        raise DefinitionError("NO_ARTIFACT", text)
    contract = _only_one({path: _contract(path) for path in paths})
    digests = {path: digest_of(path) for path in paths}
    pinned_images = [_image(f"image-{number}", text) for number, text in enumerate(images, start=1)]
    pinned = [*digests.values(), *(str(image["digest"]) for image in pinned_images)]
    version = release_version or _release_version(pinned)
    target = out_dir / folder_name(version)
    named_carrier: dict[str, str] = {}
    if profile is Profile.TPF_2026_10:
        carrier = _carrier([_checked_id(path) for path in digests], carrier)
        named_carrier["compiledTruthArtifactId"] = carrier
        entries = _located(digests, contract, carrier, maven, target) + pinned_images
    else:
        steps = [step.authored_name for step in contract.steps]
        entries = [
            _entry(_artifact_id(path), "local-file", path.name, digest, steps, _capabilities(path))
            for path, digest in digests.items()
        ]
    document = {
        "schemaVersion": 1,
        "pipelineId": contract.pipeline_id,
        "contractVersion": contract.contract_version,
        "releaseVersion": version,
        **named_carrier,
        "artifacts": entries,
    }
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    _require_valid(data, digests)
    envelope = _signed(data, sign_with) if sign_with else None
    with writing(out_dir, version) as folder:
        (folder / DESCRIPTOR_NAME).write_bytes(data)
        for path, digest in digests.items():
            copy_pinned(path, folder / path.name, digest)
        if envelope is not None:
            (folder / ENVELOPE_NAME).write_bytes(envelope)
    signed = target / ENVELOPE_NAME
    return WrittenRelease(target / DESCRIPTOR_NAME, document, signed if signed.is_file() else None)


def other_descriptor(envelope: bytes, descriptor: bytes) -> str:
    """Return why a DSSE envelope does not sign exactly these bytes; an empty text if it does. Checks no signature."""
    try:
        signed = base64.b64decode(json.loads(envelope)["payload"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "is not a DSSE envelope"
    return "" if signed == descriptor else "signs another descriptor"


def _contract(path: Path) -> Contract:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(CONTRACT_ENTRY) as entry:
            return parse_contract(entry.read(MAX_CONTRACT_BYTES + 1))
    except FileNotFoundError as error:
        raise DefinitionError("NO_ARTIFACT", f"there is no file {path}") from error
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DefinitionError(
            "NOT_AN_ARTIFACT", f"{path} is not a zip file with the entry {CONTRACT_ENTRY}; build it again"
        ) from error
    except DocumentError as error:
        raise DefinitionError("NOT_AN_ARTIFACT", f"{path} contains a contract that cannot be read: {error}") from error


def _only_one(contracts: dict[Path, Contract]) -> Contract:
    identities = {(contract.pipeline_id, contract.contract_version) for contract in contracts.values()}
    names = [path.name for path in contracts]
    if len(identities) > 1 or len(set(names)) < len(names):
        listed = ", ".join(f"{path} ({contract.pipeline_id})" for path, contract in contracts.items())
        raise DefinitionError(
            "MIXED_ARTIFACTS",
            f"the artifacts have more than one contract, or share a file name: {listed}; name the paths of one release",
        )
    return next(iter(contracts.values()))


def _artifact_id(path: Path) -> str:
    return f"{path.stem}-artifact"


def _checked_id(path: Path) -> str:
    artifact_id = _artifact_id(path)
    if _ARTIFACT_ID.fullmatch(artifact_id) is None:
        raise DefinitionError(
            "INVALID_ARTIFACT_NAME",
            f"{shown(str(path))}: the artifactId is made from the file name, which may only have letters of ASCII, "
            "digits, . _ and -; rename the file",
        )
    return artifact_id


def _carrier(artifact_ids: list[str], requested: str | None) -> str:
    if requested is None and len(artifact_ids) == 1:
        return artifact_ids[0]
    if requested in artifact_ids:
        return requested
    problem = "there are several artifacts" if requested is None else f"no artifact is {shown(requested)}"
    raise DefinitionError(
        "INVALID_CARRIER",
        f"{problem}; name the one that carries the contract and hosts its steps with --carrier: "
        f"{', '.join(artifact_ids)}",
    )


def _entry(
    artifact_id: str,
    kind: str,
    uri: str,
    digest: str,
    steps: Sequence[str | None] = (),
    capabilities: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "artifactId": artifact_id,
        "kind": kind,
        "uri": uri,
        "digest": digest,
        "stepIds": list(steps),
        "capabilities": list(capabilities),
    }


def _located(
    digests: Mapping[Path, str], contract: Contract, carrier: str, maven: Sequence[str], target: Path
) -> list[dict[str, Any]]:
    """Return the artifacts with their locations. Only the carrier has steps and capabilities."""
    if maven and len(maven) != len(digests):
        raise DefinitionError(
            "INVALID_MAVEN_COORDINATES",
            f"there are {len(digests)} artifacts, but --maven is given {len(maven)} times; give it once for each "
            f"artifact, in this order: {', '.join(path.name for path in digests)}",
        )
    uris = [_maven_uri(text) for text in maven] or [_file_uri(target / path.name) for path in digests]
    kind, steps = ArtifactKind.APPLICATION_ARCHIVE.value, [step.authored_name for step in contract.steps]
    return [
        _entry(carrier, kind, uri, digest, steps, known_capabilities(contract))
        if _artifact_id(path) == carrier
        else _entry(_artifact_id(path), kind, uri, digest)
        for (path, digest), uri in zip(digests.items(), uris, strict=True)
    ]


def _file_uri(path: Path) -> str:
    try:
        return str(FileUri(str(path.parent.resolve() / path.name)))
    except UnicodeEncodeError:
        message = f"{shown(str(path.parent))}: the path of the artifact is not UTF-8; move it to another folder"
        raise DefinitionError("INVALID_ARTIFACT_NAME", message) from None


def _maven_uri(text: str) -> str:
    """Return the canonical URI of coordinates, which may name the default extension ``jar``."""
    parts = text.removeprefix(MAVEN).split(":")
    if len(parts) == 4 and parts[2] == "jar":
        del parts[2]
    try:
        uri = parse_artifact_uri(MAVEN + ":".join(parts))
    except ArtifactUriError as error:
        message = f"{shown(text)} is not {_COORDINATES}: {error}"
        raise DefinitionError("INVALID_MAVEN_COORDINATES", message) from None
    if not isinstance(uri, MavenUri) or not uri.is_promotable:
        message = f"{shown(text)} is a snapshot, whose bytes can change; release a version instead"
        raise DefinitionError("INVALID_MAVEN_COORDINATES", message)
    return str(uri)


def _image(artifact_id: str, text: str) -> dict[str, Any]:
    try:
        uri = parse_artifact_uri(text)
    except ArtifactUriError as error:
        raise DefinitionError("INVALID_IMAGE", f"{shown(text)}: {error}") from None
    if not isinstance(uri, ImageUri):
        raise DefinitionError("INVALID_IMAGE", f"{shown(text)} is not oci://registry/repository@sha256:<digest>")
    return _entry(artifact_id, ArtifactKind.CONTAINER_IMAGE.value, text, uri.digest)


def _capabilities(path: Path) -> list[str]:
    """Return the capabilities that the pipeline requires of its workers, as ``build`` packed them."""
    with zipfile.ZipFile(path) as archive:
        if CAPABILITIES_ENTRY not in archive.namelist():
            return []
        with archive.open(CAPABILITIES_ENTRY) as entry:
            data = entry.read(MAX_CAPABILITIES_BYTES + 1)
    try:
        required = json.loads(data) if len(data) <= MAX_CAPABILITIES_BYTES else None
    except (ValueError, RecursionError):
        required = None
    if not isinstance(required, list) or not all(isinstance(item, str) for item in required):
        raise DefinitionError("NOT_AN_ARTIFACT", f"{path} has a {CAPABILITIES_ENTRY} that is not a list of names")
    return required


def _release_version(digests: list[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    return f"sha256:{hashlib.sha256(chr(10).join(sorted(digests)).encode()).hexdigest()}"


def _require_valid(data: bytes, digests: dict[Path, str]) -> None:
    """Raise ``DefinitionError`` INVALID_RELEASE for each reason for which the coordinator would reject the release."""
    paths = {digest: path for path, digest in digests.items()}
    try:
        findings = verify(parse_descriptor(data), lambda artifact: paths[artifact.digest].open("rb")).findings
    except DocumentError as error:
        findings = error.findings
    raise_all(
        [
            DefinitionError("INVALID_RELEASE", f"{finding.code}: {finding.field}: {finding.message}")
            for finding in findings
            if finding.severity is Severity.ERROR
        ]
    )


def _signed(data: bytes, keys: Sequence[Path]) -> bytes:
    """Return the signed envelope. Imports cryptography here only, because most releases are not signed."""
    from pipelines.release import signing_key
    from wire.documents import signing

    return signing.sign(data, signing.RELEASE_TYPE, [signing_key.load(path) for path in keys])
