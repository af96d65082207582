"""Resolves the artifacts of a release, and checks what only their bytes can show."""

import zipfile
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.parts.clients.tpf_client import strict_json
from tests.parts.clients.tpf_client.descriptor import TRUTH, Artifact, Descriptor, Location
from tests.parts.clients.tpf_client.exchange import ExchangeFailed, exchange
from tests.parts.clients.tpf_client.failures import BadRelease, Unresolved

CONTRACT = "META-INF/pipeline/pipeline-contract.json"
_TREE = "META-INF/pipeline/"
_DEFAULT_PROTOCOLS = ("local", "rest", "grpc", "sqs")
_SECONDS = 60
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass(frozen=True, slots=True)
class ResolverProfile:
    """Where artifacts are resolved: in these Maven repositories, and from files if `file`."""

    maven: tuple[str, ...]
    file: bool = True


def verify(release: Descriptor, profile: ResolverProfile) -> None:
    """Resolve all artifacts and check the release against its contract. Raises `Unresolved` and `BadRelease`."""
    carrier = b""
    for artifact in release.artifacts:
        data = _resolve(artifact.location, profile)
        if f"sha256:{sha256(data).hexdigest()}" != artifact.digest:
            raise Unresolved(f"{artifact.artifact_id} does not have its digest")
        if artifact.kind == TRUTH:
            _require_truth_alone(data)
        if artifact is release.carrier:
            carrier = data
    contract = _contract(carrier)
    _check_identity(release, contract)
    _check_steps(release, contract)
    _check_capabilities(release, contract)


def _resolve(location: Location, profile: ResolverProfile) -> bytes:
    if location.scheme == "file" and profile.file:
        return _read(Path(location.path))
    if location.scheme == "maven":
        return _from_repositories(location.path, profile.maven)
    if location.scheme == "oci":
        return _from_registry(location)
    raise Unresolved(f"the resolver profile resolves no {location.scheme}: URIs")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        raise Unresolved(f"{path.name} cannot be read") from None


def _from_repositories(path: str, repositories: tuple[str, ...]) -> bytes:
    """Return the file from the first repository that has it."""
    for repository in repositories:
        url = f"{repository.rstrip('/')}/{path}"
        try:
            if url.startswith("file:"):
                return _read(Path(unquote(urlsplit(url).path)))
            response = exchange("GET", url, {}, seconds=_SECONDS)
        except (ExchangeFailed, Unresolved):
            continue
        if response.status == 200:
            return response.body
    raise Unresolved(f"no Maven repository has {path}")


def _from_registry(location: Location) -> bytes:
    """Return the manifest or index, from a registry without TLS."""
    headers = {"Accept": _MANIFESTS}
    try:
        response = exchange("GET", f"http://{location.registry}{location.path}", headers, seconds=_SECONDS)
    except ExchangeFailed as error:
        raise Unresolved(str(error)) from None
    if response.status != 200:
        raise Unresolved(f"the registry {location.registry} responds with status {response.status}")
    return response.body


def _archive(data: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError):
        raise BadRelease("rule 1", "the artifact that carries the contract is no ZIP archive") from None


def _require_truth_alone(data: bytes) -> None:
    with _archive(data) as archive:
        files = [each.filename for each in archive.infolist() if not each.is_dir()]
    if not all(name.startswith(_TREE) for name in files):
        raise BadRelease("rule 1", f"a {TRUTH} artifact has files outside of {_TREE}")


def _contract(data: bytes) -> dict[str, Any]:
    with _archive(data) as archive:
        tree = [each.filename for each in archive.infolist() if each.filename.startswith(_TREE) and not each.is_dir()]
        if CONTRACT not in tree:
            raise BadRelease("rule 1", f"the artifact that carries the contract has no {CONTRACT}")
        if len(set(tree)) < len(tree) or any(".." in name.split("/") for name in tree):
            raise BadRelease("rule 1", f"{_TREE} has an entry twice, or one that leads out of it")
        try:
            document = strict_json.read(archive.read(CONTRACT))
        except (ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            raise Unresolved(f"the contract cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise Unresolved("the contract is no object")
    for name, kind in (("steps", list), ("capabilities", dict)):
        if not isinstance(document.get(name) or kind(), kind):
            raise Unresolved(f"the {name} of the contract have another type")
    return document


def _check_identity(release: Descriptor, contract: dict[str, Any]) -> None:
    if contract.get("pipelineId") != release.pipeline_id:
        raise BadRelease("rule 1", "the contract has another pipelineId")
    if contract.get("contractVersion") != release.contract_version:
        raise BadRelease("rule 1", "the contract has another contractVersion")


def _deployable(release: Descriptor) -> list[Artifact]:
    return [artifact for artifact in release.artifacts if artifact.deployable]


def _check_steps(release: Descriptor, contract: dict[str, Any]) -> None:
    names = [_step_name(step) for step in contract.get("steps") or ()]
    if not names:
        raise BadRelease("rule 5", "the contract must have steps")
    if len(set(names)) < len(names):
        raise BadRelease("rule 5", "two steps of the contract have the same authoredName")
    placed = [step for artifact in _deployable(release) for step in artifact.step_ids]
    if unknown := set(placed) - set(names):
        raise BadRelease("rule 5", f"the contract has no steps {sorted(unknown)}")
    if sorted(placed) != sorted(names):
        raise BadRelease("rule 5", "each step must be in exactly one deployable artifact")


def _step_name(step: Any) -> str:
    name = step.get("authoredName") if isinstance(step, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise BadRelease("rule 5", "each step of the contract must have an authoredName")
    return name


def _check_capabilities(release: Descriptor, contract: dict[str, Any]) -> None:
    known = _known_capabilities(contract.get("capabilities"))
    covered = {each for artifact in _deployable(release) for each in artifact.capabilities}
    if unknown := covered - known:
        raise BadRelease("rule 6", f"the contract has no capabilities {sorted(unknown)}")
    if missing := known - covered:
        raise BadRelease("rule 6", f"no deployable artifact has the capabilities {sorted(missing)}")


def _known_capabilities(capabilities: Any) -> set[str]:
    if capabilities is None:
        return set(_DEFAULT_PROTOCOLS)
    local = {"local"} if capabilities.get("localTransitionExecution") is True else set()
    return local | set(capabilities.get("transitionWorkerProtocols") or ())
